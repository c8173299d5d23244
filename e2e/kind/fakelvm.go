// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"context"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kind/pkg/cluster/nodes"
)

// FakeLVM is the fake LVM of a node (fakelvm/lvm).
type FakeLVM struct {
	// Program is the path of the program, here.
	Program string
	// Dir is the folder of its state and of the files behind the LVs, on the node and in
	// each container that uses it. It should have the cluster's name in it, so that a
	// person sees whose the host's loop devices are.
	Dir string
}

// Folder of the program on a node, under lvm's names; what is on the PATH is a script.
const fakeFolder = "/usr/local/lib/fakelvm"

// fakeNames are the names that it has there.
var fakeNames = []string{
	"fakelvm", "lvm", "lvs", "vgs", "pvs", "lvcreate", "lvremove", "lvchange", "lvextend", "lvresize", "lvrename",
	"vgcreate", "vgextend", "vgchange", "vgremove", "pvcreate", "pvremove",
}

// Env is what a process must have in its environment that uses it.
func (f FakeLVM) Env() []string { return []string{"FAKELVM_DIR=" + f.Dir, "FAKELVM_BACKING=loop"} }

// wrapper is what is on the PATH of a node.
func (f FakeLVM) wrapper() string {
	return fmt.Sprintf("#!/bin/sh\nexport %s\nexec %s/\"${0##*/}\" \"$@\"\n", strings.Join(f.Env(), " "), fakeFolder)
}

// Put puts it on a node: as fakelvm, and under lvm's names in the place of the node's own;
// and it makes the nodes of loop devices, of which a container has those that the host had
// when it was started: kubelet's losetup, for raw block volumes, makes none.
func (f FakeLVM) Put(ctx context.Context, n nodes.Node) error {
	program, err := os.ReadFile(f.Program)
	if err != nil {
		return err
	}
	put := fmt.Sprintf("set -e; mkdir -p %[1]s %[2]s; cat >%[1]s/fakelvm; chmod 755 %[1]s/fakelvm", fakeFolder, f.Dir)
	if err := run(ctx, n, "put fakelvm there", put, strings.NewReader(string(program))); err != nil {
		return err
	}
	link := fmt.Sprintf("cat >%s && chmod 755 %[1]s && cd /usr/local/sbin && for n in %s; do [ $n = fakelvm ] || ln -sf fakelvm %s/$n; ln -sf %[1]s $n; done", fakeFolder+"/wrapper", strings.Join(fakeNames, " "), fakeFolder)
	if err := run(ctx, n, "put fakelvm on the PATH", link, strings.NewReader(f.wrapper())); err != nil {
		return err
	}
	return Run(ctx, n, "make loop devices", makeLoopNodes)
}

// makeLoopNodes makes the nodes of loop devices.
const makeLoopNodes = `i=0
while [ $i -lt 256 ]; do [ -b /dev/loop$i ] || mknod -m 660 /dev/loop$i b 7 $i || exit 1; i=$((i+1)); done`

// Probe finds out whether a node can have loop devices, with an LV that does not stay.
func Probe(ctx context.Context, n nodes.Node) error { return Run(ctx, n, "make a volume", probe) }

const probe = `vg=$(fakelvm vgs --noheadings -o vg_name | head -n 1)
[ -z "$vg" ] || {
  vg=$(echo $vg)
  fakelvm lvcreate --yes --name podlv-probe --extents 1 $vg && test -b /dev/$vg/podlv-probe && fakelvm lvremove --yes $vg/podlv-probe
}`

// freeKubelets frees the loop devices that kubelet has put on raw block volumes of a node
// (kubernetes 1.36, pkg/volume/util/volumepathhandler). All nodes of all clusters see all
// loop devices; kubelet's files have the UIDs of claim and pod in their names, so that what
// is there is this node's. A device in use is free when the node's mounts are gone.
const freeKubelets = `for b in /sys/block/loop*/loop/backing_file; do
  [ -e "$b" ] || continue
  f=$(cat "$b"); d=${b#/sys/block/}; d=${d%%/*}
  case $f in /var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/*) ;; *) continue ;; esac
  [ -e "$f" ] || continue
  [ -b /dev/$d ] || mknod /dev/$d b 7 ${d#loop}
  losetup -d /dev/$d || exit 1
done
`

// free frees the loop devices of a node: kubelet's and those behind the LVs.
//
// It lets runc end what it has begun: with cgroup v1 a container is frozen while it is
// made, and one that stays so nobody can kill, nor the node around it.
const free = `command -v fakelvm >/dev/null || exit 0
systemctl stop kubelet
i=0
while [ $i -lt 50 ] && grep -qsx runc /proc/[0-9]*/comm; do sleep 0.1; i=$((i+1)); done
` + freeKubelets + `fakelvm fakelvm destroy`
