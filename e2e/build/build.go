// SPDX-License-Identifier: Apache-2.0

// Package build makes the programs that e2e runs, with the Go tools of this machine: podlv
// itself, and those of a Kubernetes cluster, which e2e/tools pins.
package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root is the folder of podlv's source, in which the caller must have been started.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("where is podlv's source? %w: run this in it", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Podlv builds podlv from the source in root, as it is released: static. to is the path of
// the program, version what it says of itself.
func Podlv(ctx context.Context, root, to, version string) error {
	return static(ctx, root, to, "./cmd/podlv", " -X main.version="+version)
}

// FakeLVM builds the fake LVM from the source in root. to is the path of the program.
func FakeLVM(ctx context.Context, root, to string) error {
	return static(ctx, root, to, "./fakelvm/lvm", "")
}

func static(ctx context.Context, root, to, source, flags string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w"+flags, "-o", to, source)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", source, err, out)
	}
	return nil
}

// Cluster builds the programs of a cluster, kubelet and the others, and returns their folder:
// "bin" in cache, which is ~/.cache/podlv when empty. What is there already is not built
// again; else it takes minutes, and says so. more are further arguments of
// e2e/tools/build.sh, which builds more for them.
func Cluster(ctx context.Context, root, cache string, more ...string) (programs string, err error) {
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache", "podlv")
	}
	if programs, err = filepath.Abs(filepath.Join(cache, "bin")); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "e2e", "tools", "build.sh"), append([]string{programs}, more...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build the cluster's programs: %w", err)
	}
	return programs, nil
}
