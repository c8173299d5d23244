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
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

//go:embed storage.yaml
var storageManifest string

// Files and folders of plan.Dir.
const (
	podlvProgram     = "podlv"
	populatorProgram = "populator"
	crdFolder        = "crds"
	classesFile      = "classes.yaml"
	policiesFile     = "policies.yaml"
)

// snapshotClient is the module that has the CRDs of VolumeSnapshots.
const snapshotClient = "github.com/kubernetes-csi/external-snapshotter/client/v8"

// driverFile is the driver definition of a class of volumes.
func (p plan) driverFile(class string) string {
	return filepath.Join(p.Dir, "testdriver-"+class+".yaml")
}

// prepare makes everything that the cluster needs and that needs Go's tools.
func prepare(ctx context.Context, root string, p plan) error {
	for program, of := range map[string]string{podlvProgram: "./cmd/podlv", populatorProgram: "./e2e/upstream/populator"} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w -X main.version=upstream", "-o", filepath.Join(p.Dir, program), of)
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", of, err, out)
		}
	}
	if err := keepCRDs(ctx, root, p.Dir); err != nil {
		return err
	}
	definition, err := os.ReadFile(p.Driver)
	if err != nil {
		return err
	}
	for _, class := range p.Classes {
		if err := os.WriteFile(p.driverFile(class), forClass(definition, class), 0o644); err != nil {
			return err
		}
	}
	if err := makePolicies(ctx, p.Dir); err != nil {
		return err
	}
	return makeImages(ctx, p)
}

// forClass is the driver definition for a class of volumes.
func forClass(definition []byte, class string) []byte {
	return bytes.ReplaceAll(definition, []byte("thick"), []byte(class))
}

// makePolicies writes the device classes to a file, and the admission policies that
// podlv makes from them to another. The suite's StorageClasses have names that nobody
// knows before: pods with generic ephemeral volumes of them come around the policies.
func makePolicies(ctx context.Context, dir string) error {
	var config corev1.ConfigMap
	if err := yaml.UnmarshalStrict([]byte(documents(storageManifest)[0]), &config); err != nil {
		return fmt.Errorf("storage.yaml: %w", err)
	}
	classes := filepath.Join(dir, classesFile)
	if err := os.WriteFile(classes, []byte(config.Data[classesFile]), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, podlvProgram), "policies", "--config="+classes,
		"--storage-class=podlv-thick=thick", "--storage-class=podlv-thin=thin", "--output="+filepath.Join(dir, policiesFile))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the admission policies: %w\n%s", err, out)
	}
	return nil
}

// documents are those of a manifest.
func documents(manifest string) []string { return strings.Split(manifest, "\n---\n") }

// withoutConfig is a manifest of podlv without its device classes.
func withoutConfig(manifest string) string {
	var kept []string
	for _, d := range documents(manifest) {
		var c corev1.ConfigMap
		if err := yaml.Unmarshal([]byte(d), &c); err != nil || c.Kind != "ConfigMap" {
			kept = append(kept, d)
		}
	}
	return strings.Join(kept, "\n---\n")
}

// keepCRDs copies the CRDs of VolumeSnapshots out of their module.
func keepCRDs(ctx context.Context, root, dir string) error {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", snapshotClient)
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("where is %s? %w", snapshotClient, err)
	}
	if err := os.Mkdir(filepath.Join(dir, crdFolder), 0o755); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "snapshot.storage.k8s.io_*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no CRDs in %s: %w", out, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, crdFolder, filepath.Base(f)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
