// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/podlv/podlv/e2e/cluster"
)

// Namespace is podlv's.
const Namespace = "podlv-system"

const (
	chartFolder = "chart" // in the lab's folder
	crdFolder   = "crds"
)

//go:embed values.yaml
var values string

// kindValues are what nodes of kind have otherwise: their LVM's folder is not of the chart's
// (cluster.Kind), and that of the control plane has no disk.
const kindValues = `agent:
  lvmConfigDir: ""
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions: [{key: node-role.kubernetes.io/control-plane, operator: DoesNotExist}]
`

// namespaceManifest is what Helm needs before a chart, with the level of Pod Security
// that the agents need.
const namespaceManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: ` + Namespace + `
  labels: {pod-security.kubernetes.io/enforce: privileged}
`

// Lab is a cluster with podlv.
type Lab struct {
	*cluster.Cluster
	// Dir is a folder for whatever a lab makes; Programs that of e2e/tools/build.sh's.
	Dir, Programs string

	plan plan
}

// Start starts the cluster of the outer half's Config, which text, the variable Plan, has,
// and returns when its API server answers and the images are made; the nodes may still be
// booting. The caller must call Close, also after an error, when the Lab is not nil.
func Start(ctx context.Context, text string) (*Lab, error) {
	l := &Lab{}
	if err := json.Unmarshal([]byte(text), &l.plan); err != nil {
		return nil, fmt.Errorf("this is no inner half: %w", err)
	}
	p := l.plan
	l.Dir, l.Programs = p.Dir, p.Programs
	made := make(chan error, 1)
	go func() { made <- p.makeImages(ctx) }()
	c, err := cluster.Start(ctx, cluster.Config{
		Programs: p.Programs, Dir: p.Dir, Disks: p.Disks, Nodes: p.Nodes, Memory: p.Memory,
		Images: p.imageFiles(), Sandbox: Busybox, LVMDisks: p.LVMDisks, Kubelet: p.Kubelet, Audited: p.Audited, Kind: p.Kind,
	})
	if e := <-made; err == nil {
		err = e
	}
	if c == nil {
		return nil, err
	}
	l.Cluster = c
	return l, err
}

// Install installs podlv with Helm and waits until each node's kubelet knows it. The VGs that
// the values name must be there, or be made meanwhile. What is more than the lab's and the
// plan's values is said as Helm's arguments.
func (l *Lab) Install(ctx context.Context, more ...string) error {
	if _, err := l.Kubectl(ctx, nil, "apply", "-f", filepath.Join(l.plan.Dir, crdFolder)); err != nil {
		return err
	}
	if _, err := l.Kubectl(ctx, strings.NewReader(namespaceManifest), "apply", "-f", "-"); err != nil {
		return err
	}
	if err := l.Helm(ctx, slices.Concat([]string{"install", "podlv"}, l.Chart(), more)...); err != nil {
		return err
	}
	for _, n := range l.Nodes() {
		if err := errors.Join(n.WaitReady(ctx, time.Time{}), l.WaitDriver(ctx, n.Name, "podlv.dev")); err != nil {
			return err
		}
	}
	return nil
}

// Chart is the arguments that name the chart, its values and the namespace.
func (l *Lab) Chart() []string {
	own := filepath.Join(l.plan.Dir, "lab-values.yaml")
	if err := os.WriteFile(own, []byte(values), 0o644); err != nil {
		return nil // helm says that there is no chart
	}
	args := []string{filepath.Join(l.plan.Dir, chartFolder), "--namespace=" + Namespace, "--values=" + own, "--values=" + l.plan.Values}
	return append(args, l.KindValues()...)
}

// KindValues is the arguments that any chart of podlv needs on nodes of kind; none elsewhere.
func (l *Lab) KindValues() []string {
	if l.plan.Kind == nil {
		return nil
	}
	file := filepath.Join(l.plan.Dir, "kind-values.yaml")
	_ = os.WriteFile(file, []byte(kindValues), 0o644) // else helm says that it is not there
	return []string{"--values=" + file}
}

// Helm runs helm as an administrator.
func (l *Lab) Helm(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(l.plan.Programs, "helm"), append(args, "--kubeconfig="+l.Kubeconfig)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("helm %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// KeepEvidence puts into the folder of logs what explains a failure, while the cluster
// still lives; name is in the names of the files.
func (l *Lab) KeepEvidence(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	keep := func(file, text string, err error) {
		if err != nil {
			text = errors.Join(errors.New(text), err).Error()
		}
		if err := os.WriteFile(filepath.Join(l.Logs(), name+"-"+file), []byte(text), 0o644); err != nil {
			fmt.Println("cannot keep", file+":", err)
		}
	}
	for file, args := range map[string][]string{
		"podlv.log":   {"logs", "-n", Namespace, "-l", "app.kubernetes.io/name=podlv", "--all-containers", "--prefix", "--tail=-1"},
		"pods.txt":    {"describe", "pods,pvc,pv", "-A"},
		"objects.txt": {"get", "all,events,csidrivers,csinodes,csistoragecapacities,pv,pvc,volumesnapshots", "-A", "-o", "wide"},
	} {
		out, err := l.Kubectl(ctx, nil, args...)
		keep(file, out, err)
	}
	for _, n := range l.Nodes() {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		out, err := n.Run(short, "sh", "-c", "exec 2>&1; lvs -a -o +lv_tags; vgs; grep kubelet /proc/self/mounts; dmesg | tail -50")
		cancel()
		keep(n.Name+".txt", out, err)
	}
}
