// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podlv/podlv/e2e/image"
	"github.com/podlv/podlv/sim/scenario"
)

// imageName is the image of agents and pods. It is in no registry.
const imageName = "podlv.dev/podlv-sim:run"

// Paths in the image.
const (
	agentPath = "/usr/local/bin/podlv"
	fakePath  = "/usr/local/bin/fakelvm"
)

// Programs are what is built from podlv's source, by path.
type Programs struct{ Podlv, FakeLVM string }

// Find looks for the programs in a folder, and says how they are built.
func Find(dir string) (Programs, error) {
	p := Programs{Podlv: filepath.Join(dir, "podlv"), FakeLVM: filepath.Join(dir, "fakelvm")}
	for _, path := range []string{p.Podlv, p.FakeLVM} {
		if _, err := os.Stat(path); err != nil {
			return Programs{}, fmt.Errorf("--target kind puts %s into its nodes, which is not beside podlv-sim (%w): build both with make sim-kind in podlv's source", filepath.Base(path), err)
		}
	}
	return p, nil
}

// tools are what the agent and the pods run, by Debian package; of a filesystem only when
// the scenario has it.
var tools = []struct {
	filesystem, pkg string
	programs        []string
}{
	{"", "dash", []string{"sh"}},
	{"", "coreutils", []string{"sleep"}},
	{"", "util-linux", []string{"blkid", "wipefs"}},
	{"ext4", "e2fsprogs", []string{"mkfs.ext4", "e2fsck", "resize2fs", "tune2fs"}},
	{"xfs", "xfsprogs", []string{"mkfs.xfs", "xfs_repair", "xfs_growfs", "xfs_db"}},
	{"btrfs", "btrfs-progs", []string{"mkfs.btrfs", "btrfs"}},
}

// filesystems are those that volumes of the scenario can have.
func filesystems(s *scenario.Scenario) map[string]bool {
	all := map[string]bool{}
	for _, c := range s.Storage.All() {
		all[c.Filesystem] = true
	}
	for _, w := range s.Workloads {
		for _, v := range w.Volumes {
			if v.FSType != "" {
				all[v.FSType] = true
			}
		}
		for _, o := range w.Objects {
			for _, v := range volumesOf(o) {
				if v.CSI != nil && v.CSI.FSType != nil {
					all[*v.CSI.FSType] = true
				}
			}
		}
	}
	return all
}

// volumesOf are those of the pods that an object is or makes.
func volumesOf(o runtime.Object) []corev1.Volume {
	if pod, ok := o.(*corev1.Pod); ok {
		return pod.Spec.Volumes
	}
	if template := scenario.Template(o); template != nil {
		return template.Spec.Volumes
	}
	return nil
}

// rootfs is the files of the image: our programs, and of this machine's what they run.
// kind's own node images have neither LVM nor xfsprogs, and no engine can be counted on
// that would install them in an image. The error names all that is missing here, with the
// packages that have it.
func rootfs(p Programs, s *scenario.Scenario) (*image.Rootfs, error) {
	r := &image.Rootfs{}
	wrong := errors.Join(r.AddAs(p.Podlv, agentPath), r.AddAs(p.FakeLVM, fakePath))
	has := filesystems(s)
	for _, t := range tools {
		if t.filesystem != "" && !has[t.filesystem] {
			continue
		}
		if err := r.AddPrograms(t.programs...); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%w: apt-get install %s", err, t.pkg))
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	if has["ext4"] {
		if err := r.Add("/etc/mke2fs.conf"); err != nil { // without it mkfs.ext4 makes an ext2
			return nil, err
		}
	}
	if sh, err := filepath.EvalSymlinks("/bin/sh"); err == nil { // for a pod's command, wherever sh was found
		if err := r.AddAs(sh, "/bin/sh"); err != nil {
			return nil, err
		}
	}
	r.AddLink("/etc/mtab", "/proc/self/mounts")
	r.AddFolder("/tmp", 0o777|fs.ModeSticky)
	r.AddFolder("/run", 0o755)
	return r, nil
}
