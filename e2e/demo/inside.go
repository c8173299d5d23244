// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/lab"
)

//go:embed pods.yaml
var podsManifest string

// limit is for everything; a demo that takes longer has failed.
const limit = 15 * time.Minute

// pods are those of pods.yaml.
var pods = []string{"ext4", "xfs", "full"}

// demo is the second half: the cluster and what is done in it.
type demo struct {
	*lab.Lab
	node  *cluster.Node
	start time.Time
	said  map[string]string // what each pod has said since it started
}

// note prints a step with the time since the start.
func (d *demo) note(format string, args ...any) {
	fmt.Printf("[%5.1fs] %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}

func inside(ctx context.Context, plan string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d := &demo{start: time.Now()} // everything is built
	d.note("starting a control plane, and a node: a kubelet in a machine of its own with a 2 GiB disk for LVM;")
	d.note("making images of podlv and others from this machine's files meanwhile")
	d.Lab, err = lab.Start(ctx, plan)
	if d.Lab == nil {
		return err
	}
	defer d.Close()
	if err == nil {
		err = d.play(ctx)
	}
	if err != nil {
		d.KeepEvidence("end")
		return err
	}
	fmt.Printf("OK: three inline volumes and three claims made, used, grown, restored from a snapshot, kept through a power cut and removed, in %.0f s\n", time.Since(d.start).Seconds())
	return nil
}

// play is the demo itself.
func (d *demo) play(ctx context.Context) error {
	d.node = d.Nodes()[0]
	for _, step := range []func(context.Context) error{d.install, d.startPods, d.growAndRestore, d.showVolumes, d.cutPower, d.deletePods, d.checkRights, d.uninstall} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// install makes the VG, which is an administrator's work, and podlv.
func (d *demo) install(ctx context.Context) error {
	d.note("the API server answers; installing podlv with Helm while the node boots and gets volume group \"demo\"")
	made := make(chan error, 1)
	go func() {
		_, err := d.node.Run(ctx, "vgcreate", "--quiet", "demo", "/dev/ubdc")
		made <- err
	}()
	err := d.Install(ctx)
	return errors.Join(<-made, err)
}

func (d *demo) startPods(ctx context.Context) error {
	d.note("podlv runs and kubelet knows it; creating pods %s", strings.Join(pods, ", "))
	if _, err := d.Kubectl(ctx, strings.NewReader(podsManifest), "apply", "-f", "-"); err != nil {
		return err
	}
	if err := d.waitPods(ctx, time.Time{}); err != nil {
		return err
	}
	d.note("the pods are Running; each has written and synced data, and says of its volume:")
	if err := d.show(dfHeader, "ext4", "% /data", "ext4", "% /claim", "xfs", "% /data", "full", "% /data"); err != nil {
		return err
	}
	refusal, err := d.find("full", "No space left on device")
	if err != nil {
		return err
	}
	fmt.Printf("         full: %s\n", refusal)
	same, err := d.find("ext4", sameWords)
	if err != nil {
		return err
	}
	fmt.Printf("         ext4: %s\n", same)
	for _, p := range pods {
		if strings.Contains(d.said[p], beforeWords) {
			return fmt.Errorf("pod %s found data on its new volume", p)
		}
	}
	return nil
}

// dfHeader names what df -hT prints but its first column, the device: that is so
// long that busybox gives it a line of its own.
const dfHeader = "pod\ttype\tsize\tused\tavailable\tuse%\tmounted on"

// sameWords is what the pod with claims says of them.
const sameWords = "both claims have the same bytes"

// beforeWords is what a pod says that found data on its volume.
const beforeWords = "data from before"

// waitPods waits until the pods' containers have started after since and said all
// that they have to say, which it keeps.
func (d *demo) waitPods(ctx context.Context, since time.Time) error {
	if err := d.WaitRestarted(ctx, "default", "demo=volumes", len(pods), since); err != nil {
		return err
	}
	d.said = map[string]string{}
	for _, p := range pods {
		said, err := d.WaitLog(ctx, "default", p, "\ndone\n")
		if err != nil {
			return err
		}
		d.said[p] = said
	}
	return nil
}

// show prints a table: the header, if there is one, and of each pod named the line
// of its log that has the words that follow the name.
func (d *demo) show(header string, podsAndWords ...string) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	if header != "" {
		fmt.Fprintf(table, "         %s\n", header)
	}
	for i := 0; i+1 < len(podsAndWords); i += 2 {
		pod, words := podsAndWords[i], podsAndWords[i+1]
		found, err := d.find(pod, words)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "         %s\t%s\n", pod, strings.Join(strings.Fields(found), "\t"))
	}
	return table.Flush()
}

// find is the line of a pod's log that has the words.
func (d *demo) find(pod, words string) (string, error) {
	found := line(d.said[pod], words)
	if found == "" {
		return "", fmt.Errorf("pod %s did not say %q, but: %s", pod, words, d.said[pod])
	}
	return found, nil
}

// showVolumes looks at the volumes from the node.
func (d *demo) showVolumes(ctx context.Context) error {
	if _, err := d.node.Run(ctx, "sh", "-c", "dd if=/dev/zero of=/var/lib/probe bs=1M count=8 status=none && rm /var/lib/probe"); err != nil {
		return fmt.Errorf("the node itself has no room left: %w", err)
	}
	return d.showNode(ctx, "the node itself is not full; its LVM says:", "lvs", "--noheadings", "-o", "lv_size,lv_tags", "--separator", "  ", "demo")
}

// cutPower ends the node's machine at once and boots it again.
func (d *demo) cutPower(ctx context.Context) error {
	before := d.said
	uids, err := d.uids(ctx)
	if err != nil {
		return err
	}
	d.note("cutting the node's power, now")
	d.node.Kill()
	cut := time.Now()
	if err := d.node.Boot(); err != nil {
		return err
	}
	d.note("the node boots again, on its disks as they were")
	if err := d.waitPods(ctx, cut); err != nil {
		return err
	}
	after, err := d.uids(ctx)
	if err != nil {
		return err
	}
	if uids != after {
		return fmt.Errorf("these are not the pods from before the power cut: %s, now %s", uids, after)
	}
	d.note("%.0f s after the cut the same pods run again and find their synced data:", time.Since(cut).Seconds())
	for _, p := range pods {
		if was, is := line(before[p], "  /data/file"), line(d.said[p], "  /data/file"); was != is || !strings.Contains(d.said[p], beforeWords) {
			return fmt.Errorf("pod %s lost synced data in the power cut: it had %q, now it says: %s", p, was, d.said[p])
		}
	}
	if _, err := d.find("ext4", sameWords); err != nil {
		return err
	}
	return d.show("", "ext4", "  /data/file", "xfs", "  /data/file", "full", "  /data/file")
}

func (d *demo) deletePods(ctx context.Context) error {
	d.note("deleting the pods, the snapshot and the claims")
	// kubelet takes a pod away only after its volumes are gone; a claim's go after it.
	for _, args := range [][]string{{"delete", "pods,volumesnapshots,pvc", "--all", "--wait", "--timeout=180s"}, {"wait", "--for=delete", "pv", "--all", "--timeout=60s"}} {
		if _, err := d.Kubectl(ctx, nil, args...); err != nil {
			return err
		}
	}
	lvs, err := d.node.Run(ctx, "lvs", "--noheadings", "-o", "lv_name", "demo")
	if err != nil {
		return err
	}
	if strings.TrimSpace(lvs) != "" {
		return fmt.Errorf("volumes are left behind: %s", strings.Join(strings.Fields(lvs), ", "))
	}
	return d.showNode(ctx, "the volume group is empty:", "vgs", "-o", "vg_name,lv_count,vg_size,vg_free", "demo")
}

// showNode runs a command on the node and prints what it says.
func (d *demo) showNode(ctx context.Context, what string, command ...string) error {
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
