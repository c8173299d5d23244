// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/lab"
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
	*lab.Lab
	plan
	start time.Time
}

func inside(ctx context.Context, text string, p plan) error {
	r := &run{plan: p, start: time.Now()}
	// The suite ends itself at the limit, and needs time for that.
	ctx, cancel := context.WithTimeout(ctx, r.Limit+20*time.Minute)
	defer cancel()
	r.note("starting a control plane and %d nodes, each a kubelet in a machine of its own with real LVM", r.Machines)
	var err error
	r.Lab, err = lab.Start(ctx, text)
	if r.Lab != nil {
		defer r.Close()
	}
	if err == nil {
		err = r.install(ctx)
	}
	if err == nil {
		err = r.suite(ctx)
		err = errors.Join(err, r.leftovers(ctx))
	}
	if r.Lab != nil {
		r.KeepEvidence("end")
	}
	return err
}

func (r *run) note(format string, args ...any) {
	fmt.Printf("[%6.1fs] %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

// install makes the VGs, which is an administrator's work, and podlv.
func (r *run) install(ctx context.Context) error {
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
	if err := r.Install(ctx); err != nil {
		return err
	}
	r.note("podlv runs on all nodes")
	return nil
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
		args = append(args, "--storage.testdriver="+driverFile(r.Dir, class))
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
