// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/e2e/cluster"
)

// spareSize is the size of spareDisk in bytes.
const spareSize = 64 * gib

// spareDisk is a disk of each node that no VG is on.
func spareDisk(n *cluster.Node) string { return n.LVMDisks()[2] }

// flakyDisk is a node's spare disk behind a device that can be told to fail, with the VG
// flaky on it.
type flakyDisk struct {
	c       *kase
	node    *cluster.Node
	sectors string
	failing bool
}

// flakyName is the device's. Nodes let lvm see those of such names (microvm.LVMConfig).
const flakyName = "flakey-spare"

// flaky gives a node pool flaky. At the case's end, when its volumes are gone, the node has
// it no more.
func (c *kase) flaky(n *cluster.Node) *flakyDisk {
	c.Helper()
	d := &flakyDisk{c: c, node: n, sectors: c.run(n, "blockdev --getsz "+spareDisk(n))}
	c.finally(func() {
		c.label(n, "podlv-e2e/flaky", "")
		c.withdrawn(n, "flaky")
		c.run(n, "vgremove -q flaky && pvremove -q /dev/mapper/"+flakyName+" && DM_DISABLE_UDEV=1 dmsetup remove "+flakyName+" && "+d.hide(false))
	})
	// Else lvm finds the PV twice.
	c.run(n, d.hide(true)+" && DM_DISABLE_UDEV=1 dmsetup create "+flakyName+" --table '"+d.table(false)+"' && vgcreate -q flaky /dev/mapper/"+flakyName)
	c.Cleanup(func() {
		if d.failing {
			d.fails(false)
		}
	})
	c.label(n, "podlv-e2e/flaky", "yes")
	c.until("the pool is on "+n.Name, func() error { _, err := c.capacity(n.Name, "flaky"); return err })
	return d
}

// withdrawn waits until a node offers claims of a StorageClass nothing any more, because it
// does not have its pool.
func (c *kase) withdrawn(n *cluster.Node, class string) {
	c.Helper()
	c.until(n.Name+" has no "+class+" any more", func() error {
		if has, err := c.capacity(n.Name, class); err == nil {
			return fmt.Errorf("it offers %d bytes", has)
		}
		return nil
	})
}

// hide is a command that hides the disk itself from lvm, or does not.
func (d *flakyDisk) hide(hidden bool) string {
	from, to := "a", "r"
	if !hidden {
		from, to = to, from
	}
	return fmt.Sprintf(`sed -i 's#"%s|^%s\$|"#"%s|^%s$|"#' $LVM_SYSTEM_DIR/lvm.conf`, from, spareDisk(d.node), to, spareDisk(d.node))
}

// table is the device's: up for ever, or down for ever, when all reads and writes fail
// (the kernel's Documentation/admin-guide/device-mapper/dm-flakey.rst).
func (d *flakyDisk) table(fails bool) string {
	if fails {
		return fmt.Sprintf("0 %s flakey %s 0 0 1", d.sectors, spareDisk(d.node))
	}
	return fmt.Sprintf("0 %s flakey %s 0 1 0", d.sectors, spareDisk(d.node))
}

// fails makes every read and write of the disk fail from now on, or none.
func (d *flakyDisk) fails(now bool) {
	d.c.Helper()
	d.failing = now
	// A device that fails cannot be flushed to become whole.
	d.c.run(d.node, "export DM_DISABLE_UDEV=1; dmsetup suspend --noflush --nolockfs "+flakyName+" && dmsetup load "+flakyName+" --table '"+d.table(now)+"'; dmsetup resume "+flakyName)
}

// label sets a label of a node, or takes it away when the value is empty.
func (c *kase) label(n *cluster.Node, key, value string) {
	c.Helper()
	v := "null"
	if value != "" {
		v = `"` + value + `"`
	}
	_, err := the.Client.CoreV1().Nodes().Patch(c.ctx, n.Name, types.MergePatchType, []byte(`{"metadata":{"labels":{"`+key+`":`+v+`}}}`), metav1.PatchOptions{})
	require.NoError(c, err)
}

// exec runs a shell program in a pod's container, and gives what it prints on both streams.
func (c *kase) exec(pod, script string) (string, error) {
	out, err := the.Kubectl(c.ctx, nil, "exec", "--namespace", c.namespace, pod, "--", "sh", "-c", "exec 2>&1\n"+script)
	return strings.TrimSpace(out), err
}
