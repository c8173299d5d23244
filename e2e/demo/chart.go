// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed values.yaml
var values string

const (
	chartFolder = "chart" // in the demo's folder
	valuesFile  = "demo-values.yaml"
)

// namespaceManifest is what Helm needs before a chart, with the level of Pod Security
// that the agents need.
const namespaceManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: podlv-system
  labels: {pod-security.kubernetes.io/enforce: privileged}
`

// keepChart copies the Helm chart of podlv's source, and the demo's values.
func keepChart(root, dir string) error {
	to := filepath.Join(dir, chartFolder)
	if err := os.CopyFS(to, os.DirFS(filepath.Join(root, "deploy", "chart"))); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, valuesFile), []byte(values), 0o644)
}

// helm runs helm as an administrator.
func (d *demo) helm(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(d.programs, "helm"), append(args, "--kubeconfig="+d.Kubeconfig)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("helm %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
