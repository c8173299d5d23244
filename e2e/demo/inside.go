// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/podlv/podlv/e2e/cluster"
)

//go:embed podlv.yaml
var podlvManifest string

//go:embed pods.yaml
var podsManifest string

// limit is for everything; a demo that takes longer has failed.
const limit = 4 * time.Minute

// pods are those of pods.yaml.
var pods = []string{"ext4", "xfs", "full"}

// demo is the second half: the cluster and what is done in it.
type demo struct {
	*cluster.Cluster
	node *cluster.Node
	note func(format string, args ...any)
}

func inside(ctx context.Context, dir, programs, started string) error {
	start, err := time.Parse(time.RFC3339Nano, started)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d := &demo{note: noteSince(start)}
	d.note("starting a control plane and a node: a kubelet in a machine of its own, with a 2 GiB disk for LVM")
	d.Cluster, err = cluster.Start(ctx, cluster.Config{
		Programs: programs, Dir: dir, Nodes: 1,
		Images:  []string{imageFile(dir, pauseImage), imageFile(dir, busyboxImage), imageFile(dir, podlvImage)},
		Sandbox: pauseImage, LVMDisks: []int64{2 << 30}, Note: d.note,
	})
	if d.Cluster != nil {
		defer d.Close()
	}
	if err == nil {
		err = d.play(ctx)
	}
	if err != nil && d.Cluster != nil {
		d.keepEvidence()
	}
	return err
}

// play is the demo itself.
func (d *demo) play(ctx context.Context) error {
	d.node = d.Nodes()[0]
	for _, step := range []func(context.Context) error{d.install, d.startPods, d.showVolumes, d.cutPower, d.deletePods} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// install makes the VG, which is an administrator's work, and podlv.
func (d *demo) install(ctx context.Context) error {
	d.note("%s is Ready; making volume group \"demo\" on its disk and installing podlv", d.node.Name)
	if _, err := d.node.Run(ctx, "vgcreate", "--quiet", "demo", "/dev/ubdc"); err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, strings.NewReader(podlvManifest), "apply", "-f", "-"); err != nil {
		return err
	}
	return d.waitPodlv(ctx)
}

func (d *demo) waitPodlv(ctx context.Context) error {
	if err := d.WaitPods(ctx, "podlv-system", "app=podlv", 1); err != nil {
		return err
	}
	return d.WaitDriver(ctx, d.node.Name, "podlv.dev")
}

func (d *demo) startPods(ctx context.Context) error {
	d.note("podlv runs and kubelet knows it; creating pods %s", strings.Join(pods, ", "))
	if _, err := d.Kubectl(ctx, strings.NewReader(podsManifest), "apply", "-f", "-"); err != nil {
		return err
	}
	if err := d.WaitPods(ctx, "default", "demo=volumes", len(pods)); err != nil {
		return err
	}
	d.note("the pods are Running")
	return nil
}

// showVolumes looks at the volumes from both sides.
func (d *demo) showVolumes(ctx context.Context) error {
	for _, p := range pods {
		out, err := d.inPod(ctx, p, "df -hT /data | tail -n 1")
		if err != nil {
			return err
		}
		fmt.Printf("         df in pod %-5s %s", p, out)
	}
	said, err := d.Kubectl(ctx, nil, "logs", "full")
	if err != nil {
		return err
	}
	if !strings.Contains(said, "No space left on device") {
		return fmt.Errorf("pod full wrote until its volume was full, but did not meet ENOSPC; it said: %s", said)
	}
	fmt.Printf("         pod full said       %s\n", line(said, "No space left on device"))
	if _, err := d.node.Run(ctx, "sh", "-c", "dd if=/dev/zero of=/var/lib/probe bs=1M count=8 status=none && rm /var/lib/probe"); err != nil {
		return fmt.Errorf("the node itself has no room left: %w", err)
	}
	return d.show(ctx, "the node is not full; its LVM says:", "lvs", "--noheadings", "-o", "lv_size,lv_tags", "--separator", "  ", "demo")
}

// cutPower writes data, ends the node's machine at once and boots it again.
func (d *demo) cutPower(ctx context.Context) error {
	d.note("writing 4 MiB of random data into each of ext4 and xfs, and syncing it")
	before := map[string]string{}
	for _, p := range pods {
		script := "if [ ! -e /data/fill ]; then dd if=/dev/urandom of=/data/file bs=1M count=4 2>/dev/null; sync /data/file; sync /data; fi; sha256sum /data/fi*"
		sum, err := d.inPod(ctx, p, script)
		if err != nil {
			return err
		}
		before[p] = sum
	}
	uids, err := d.uids(ctx)
	if err != nil {
		return err
	}
	d.note("cutting the node's power, now")
	d.node.Kill()
	booted := time.Now()
	if err := d.node.Boot(); err != nil {
		return err
	}
	if err := d.node.WaitReady(ctx, booted); err != nil {
		return err
	}
	d.note("%s is Ready again, %.1f s after the cut", d.node.Name, time.Since(booted).Seconds())
	if err := d.WaitRestarted(ctx, "podlv-system", "app=podlv", 1, booted); err != nil {
		return err
	}
	if err := d.WaitRestarted(ctx, "default", "demo=volumes", len(pods), booted); err != nil {
		return err
	}
	after, err := d.uids(ctx)
	if err != nil {
		return err
	}
	if uids != after {
		return fmt.Errorf("these are not the pods from before the power cut: %s, now %s", uids, after)
	}
	d.note("the same pods run again")
	for _, p := range pods {
		sum, err := d.inPod(ctx, p, "sha256sum /data/fi*")
		if err != nil {
			return err
		}
		if sum != before[p] {
			return fmt.Errorf("pod %s lost synced data in the power cut: %q, was %q", p, sum, before[p])
		}
		fmt.Printf("         pod %-5s still has  %s", p, sum)
	}
	return nil
}

func (d *demo) deletePods(ctx context.Context) error {
	d.note("deleting the pods")
	if _, err := d.Kubectl(ctx, nil, append([]string{"delete", "pod", "--wait", "--timeout=60s"}, pods...)...); err != nil {
		return err
	}
	// kubelet takes a pod away only after its volumes are gone.
	lvs, err := d.node.Run(ctx, "lvs", "--noheadings", "-o", "lv_name", "demo")
	if err != nil {
		return err
	}
	if strings.TrimSpace(lvs) != "" {
		return fmt.Errorf("volumes are left behind: %s", strings.Join(strings.Fields(lvs), ", "))
	}
	return d.show(ctx, "the volume group is empty:", "vgs", "-o", "vg_name,lv_count,vg_size,vg_free", "demo")
}

// show runs a command on the node and prints what it says.
func (d *demo) show(ctx context.Context, what string, command ...string) error {
	out, err := d.node.Run(ctx, command...)
	if err != nil {
		return err
	}
	d.note("%s", what)
	for _, l := range strings.Split(strings.TrimRight(out, "\n"), "\n") {
		fmt.Println("         " + strings.TrimSpace(l))
	}
	return nil
}

func (d *demo) inPod(ctx context.Context, pod, script string) (string, error) {
	return d.Kubectl(ctx, nil, "exec", pod, "--", "sh", "-c", script)
}

func (d *demo) uids(ctx context.Context) (string, error) {
	return d.Kubectl(ctx, nil, "get", "pods", "-l", "demo=volumes", "-o", "jsonpath={.items[*].metadata.uid}")
}

// line is the first line of text that has part in it.
func line(text, part string) string {
	for _, l := range strings.Split(text, "\n") {
		if strings.Contains(l, part) {
			return l
		}
	}
	return ""
}

// keepEvidence asks the cluster, while it still lives, for what explains a failure.
func (d *demo) keepEvidence() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for name, args := range map[string][]string{
		"podlv.log":   {"logs", "-n", "podlv-system", "-l", "app=podlv", "--tail=-1"},
		"pods.txt":    {"describe", "pods", "-A"},
		"objects.txt": {"get", "all,events,csidrivers,csinodes", "-A", "-o", "wide"},
	} {
		out, err := d.Kubectl(ctx, nil, args...)
		if err != nil {
			out = errors.Join(errors.New(out), err).Error()
		}
		if err := os.WriteFile(filepath.Join(d.Logs(), name), []byte(out), 0o644); err != nil {
			fmt.Println("cannot keep", name+":", err)
		}
	}
}
