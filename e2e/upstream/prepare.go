// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed values.yaml
var chartValues string

const populatorProgram = "populator" // in the lab's folder

// driverFile is the driver definition of a class of volumes, in the lab's folder.
func driverFile(dir, class string) string {
	return filepath.Join(dir, "testdriver-"+class+".yaml")
}

// prepare makes everything that the suite needs and that needs Go's tools.
func prepare(ctx context.Context, root, dir, programs string) ([]string, error) {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, populatorProgram), "./e2e/upstream/populator")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the populator: %w\n%s", err, out)
	}
	definition, err := os.ReadFile(filepath.Join(root, "e2e", "testdriver.yaml"))
	if err != nil {
		return nil, err
	}
	for _, class := range []string{"thick", "thin"} {
		if err := os.WriteFile(driverFile(dir, class), forClass(definition, class), 0o644); err != nil {
			return nil, err
		}
	}
	return makeImages(ctx, dir, programs)
}

// forClass is the driver definition for a class of volumes.
func forClass(definition []byte, class string) []byte {
	return bytes.ReplaceAll(definition, []byte("thick"), []byte(class))
}
