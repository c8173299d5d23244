// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/cluster"
)

// Sizes of a node's disks for LVM, in bytes; they are sparse. The thin pool is smaller
// than its VG by what its metadata takes, and more.
const (
	thickDisk = 64 << 30
	thinDisk  = 64 << 30
	thinPool  = "48g"
)

// run is the second half: the cluster and the suite in it.
type run struct {
	*cluster.Cluster
	plan
	start time.Time
}

func inside(ctx context.Context, text string) error {
	r := &run{start: time.Now()}
	if err := json.Unmarshal([]byte(text), &r.plan); err != nil {
		return err
	}
	// The suite ends itself at the limit, and needs time for that.
	ctx, cancel := context.WithTimeout(ctx, r.Limit+20*time.Minute)
	defer cancel()
	r.note("starting a control plane and %d nodes, each a kubelet in a machine of its own with real LVM", r.Machines)
	var err error
	r.Cluster, err = cluster.Start(ctx, cluster.Config{
		Programs: r.Programs, Dir: r.Dir, Disks: r.Disks, Nodes: r.Machines, Memory: "3G",
		Images: imageFiles(r.Dir), Sandbox: sandboxImage, LVMDisks: []int64{thickDisk, thinDisk},
		// Nobody answers there, and no test asks; without it kubelet writes an event for
		// each pod, again and again.
		Kubelet: map[string]any{"clusterDNS": []string{"10.96.0.10"}},
	})
	if r.Cluster != nil {
		defer r.Close()
	}
	if err == nil {
		err = r.install(ctx)
	}
	if err == nil {
		err = r.suite(ctx)
		err = errors.Join(err, r.leftovers(ctx))
	}
	if r.Cluster != nil && r.Client != nil {
		r.keepEvidence()
	}
	return err
}

func (r *run) note(format string, args ...any) {
	fmt.Printf("[%6.1fs] %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

// install makes the VGs, which is an administrator's work, and podlv.
func (r *run) install(ctx context.Context) error {
	manifest, err := os.ReadFile(r.Manifest)
	if err != nil {
		return err
	}
	if _, err := r.Kubectl(ctx, nil, "apply", "-f", filepath.Join(r.Dir, crdFolder)); err != nil {
		return err
	}
	for _, m := range []string{withoutConfig(string(manifest)), storageManifest} {
		if _, err := r.Kubectl(ctx, strings.NewReader(m), "apply", "-f", "-"); err != nil {
			return err
		}
	}
	if _, err := r.Kubectl(ctx, nil, "apply", "-f", filepath.Join(r.Dir, policiesFile)); err != nil {
		return err
	}
	if err := r.startControllers(); err != nil {
		return err
	}
	for _, n := range r.Nodes() {
		for _, command := range [][]string{
			{"vgcreate", "--quiet", "thick", "/dev/ubdc"},
			{"vgcreate", "--quiet", "thin", "/dev/ubdd"},
			{"lvcreate", "--quiet", "--type=thin-pool", "--size=" + thinPool, "--name=pool", "thin"},
		} {
			if _, err := n.Run(ctx, command...); err != nil {
				return err
			}
		}
	}
	for _, n := range r.Nodes() {
		if err := n.WaitReady(ctx, time.Time{}); err != nil {
			return err
		}
	}
	if err := r.WaitPods(ctx, "podlv-system", "app=podlv", r.Machines); err != nil {
		return err
	}
	for _, n := range r.Nodes() {
		if err := r.WaitDriver(ctx, n.Name, "podlv.dev"); err != nil {
			return err
		}
	}
	r.note("podlv runs on all nodes")
	return nil
}

// startControllers starts what a cluster needs once, beside the control plane, where a
// cluster would have Deployments.
func (r *run) startControllers() error {
	socket, kubeconfig := filepath.Join(r.Dir, "controller.sock"), "--kubeconfig="+r.Kubeconfig
	if err := r.StartController(filepath.Join(r.Dir, podlvProgram), "controller", kubeconfig,
		"--config="+filepath.Join(r.Dir, classesFile), "--csi-socket="+socket, "--leader-election=false"); err != nil {
		return err
	}
	if err := r.StartController("snapshot-controller", kubeconfig, "--enable-distributed-snapshotting", "--leader-election=false"); err != nil {
		return err
	}
	return r.StartController("csi-resizer", kubeconfig, "--csi-address="+socket, "--leader-election=false")
}

// suite runs the tests. Which of them failed the report tells; the error is of anything
// else.
func (r *run) suite(ctx context.Context) error {
	r.note("running the suite, %d tests at once; %s grows meanwhile", r.Procs, filepath.Join(r.Out, logFile))
	log, err := os.Create(filepath.Join(r.Out, logFile))
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{
		"run", "--procs=" + strconv.Itoa(r.Procs), "--timeout=" + r.Limit.String(), "--no-color",
		"--json-report=" + reportFile, "--junit-report=junit.xml", "--output-dir=" + r.Out,
		"--focus=" + r.focus(), "--skip=" + skipExpression(),
		filepath.Join(r.Programs, "e2e.test"), "--",
		"--kubeconfig=" + r.Kubeconfig, "--provider=skeleton", "--kubectl-path=" + filepath.Join(r.Programs, "kubectl"),
	}
	for _, class := range r.Classes {
		args = append(args, "--storage.testdriver="+r.driverFile(class))
	}
	cmd := exec.CommandContext(ctx, filepath.Join(r.Programs, "ginkgo"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.Out, log, log
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		if _, e := os.Stat(filepath.Join(r.Out, reportFile)); e == nil {
			err = nil // some tests failed
		}
	}
	if err != nil {
		return fmt.Errorf("run the suite: %w; what it said is in %s", err, log.Name())
	}
	r.note("the suite has ended")
	return nil
}

// focus matches the names of the tests to run.
func (p plan) focus() string {
	f := `External Storage \[Driver: podlv\.dev\] (` + strings.Join(p.Classes, "|") + `) `
	if p.Focus != "" {
		f += ".*(" + p.Focus + ")"
	}
	return f
}

// leftovers waits until nothing of the tests is left on the nodes, and says what is.
func (r *run) leftovers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		left, err := r.left(ctx)
		switch {
		case err != nil:
			return err
		case left == "":
			r.note("nothing is left: no LV, no mount of the driver, no PersistentVolume")
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("left behind: %s", left)
		case <-time.After(2 * time.Second):
		}
	}
}

// left is what is left of the tests now.
func (r *run) left(ctx context.Context) (string, error) {
	var all []string
	volumes, err := r.Client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, v := range volumes.Items {
		all = append(all, "PersistentVolume "+v.Name)
	}
	for _, n := range r.Nodes() {
		lvs, err := n.Run(ctx, "lvs", "--noheadings", "-o", "lv_full_name,lv_tags", "--select", "lv_layout!=pool")
		if err != nil {
			return "", err
		}
		// Grep ends with 1 when there are none.
		mounts, err := n.Run(ctx, "sh", "-c", "grep -E '/(podlv\\.dev|volumes/kubernetes.io~csi)/' /proc/mounts || true")
		if err != nil {
			return "", err
		}
		for _, l := range strings.Split(lvs+"\n"+mounts, "\n") {
			if l = strings.Join(strings.Fields(l), " "); l != "" {
				all = append(all, n.Name+": "+l)
			}
		}
	}
	return strings.Join(all, "; "), nil
}

// keepEvidence asks the cluster, while it still lives, for what explains a failure.
func (r *run) keepEvidence() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	keep := func(name, out string, err error) {
		if err != nil {
			out = errors.Join(errors.New(out), err).Error()
		}
		if err := os.WriteFile(filepath.Join(r.Logs(), name), []byte(out), 0o644); err != nil {
			fmt.Println("cannot keep", name+":", err)
		}
	}
	for name, args := range map[string][]string{
		"podlv.log":   {"logs", "-n", "podlv-system", "-l", "app=podlv", "--tail=-1", "--prefix"},
		"objects.txt": {"get", "all,events,csidrivers,csinodes,pv,pvc,volumesnapshots,volumesnapshotcontents,csistoragecapacities", "-A", "-o", "wide"},
	} {
		out, err := r.Kubectl(ctx, nil, args...)
		keep(name, out, err)
	}
	for _, n := range r.Nodes() {
		out, err := n.Run(ctx, "sh", "-c", "lvs -a -o +lv_tags; cat /proc/mounts")
		keep(filepath.Join(n.Name, "lvm.txt"), out, err)
	}
}
