// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/podlv/podlv/e2e/image"
	"github.com/podlv/podlv/e2e/kind"
)

// Busybox is an image that every node has, for pods; there is no registry to pull from.
const Busybox = "podlv.dev/busybox:lab"

// PodlvImage is the name of podlv's own image.
const PodlvImage = "podlv.dev/podlv:lab"

// Names of the other images; values.yaml has them too.
const (
	resizerImage     = "podlv.dev/csi-resizer:lab"
	snapshotterImage = "podlv.dev/snapshot-controller:lab"
)

// imageFolder has the images' archives, in the lab's folder.
const imageFolder = "images"

// podlv itself and the fake LVM, in the lab's folder.
const (
	podlvProgram = "podlv"
	fakeProgram  = "fakelvm"
)

// programs are some of a Debian package.
type programs struct {
	pkg      string
	programs []string
}

// realLVM is the LVM of nodes that have no fake one.
var realLVM = []programs{
	{"lvm2", []string{"lvm"}},
	{"thin-provisioning-tools", []string{"thin_check", "thin_dump", "thin_repair"}},
}

// podlvPrograms are what else the agent runs: what a Dockerfile of podlv would install.
var podlvPrograms = []programs{
	{"e2fsprogs", []string{"mkfs.ext4", "e2fsck", "resize2fs", "tune2fs"}},
	{"xfsprogs", []string{"mkfs.xfs", "xfs_repair", "xfs_growfs", "xfs_db"}},
	{"btrfs-progs", []string{"mkfs.btrfs", "btrfs"}},
	{"util-linux", []string{"blkid", "wipefs"}},
}

// busybox is a static program, which needs nothing else in its image.
const busybox = "/bin/busybox"

// missingForImages names the programs that are not here, with their packages; those of lvm
// are LVM's.
func missingForImages(lvm []programs) error {
	var all error
	for _, p := range append(lvm, podlvPrograms...) {
		if err := (&image.Rootfs{}).AddPrograms(p.programs...); err != nil {
			all = errors.Join(all, fmt.Errorf("%w: apt-get install %s", err, p.pkg))
		}
	}
	if _, err := os.Stat(busybox); err != nil {
		all = errors.Join(all, fmt.Errorf("no %s here: apt-get install busybox-static", busybox))
	}
	return all
}

// ImageFile is the path of an image's archive in the lab's folder.
func ImageFile(dir, name string) string {
	return filepath.Join(dir, imageFolder, strings.NewReplacer("/", "_", ":", "_").Replace(name)+".tar")
}

// imageFiles are the archives of all images.
func (p plan) imageFiles() []string {
	names := []string{Busybox, PodlvImage, resizerImage, snapshotterImage}
	if p.Bare {
		names = names[:1]
	}
	var files []string
	for _, name := range names {
		files = append(files, ImageFile(p.Dir, name))
	}
	return append(files, p.Images...)
}

// makeImages packs the images.
func (p plan) makeImages(ctx context.Context) error {
	box := &image.Rootfs{}
	if err := AddBusybox(ctx, box); err != nil {
		return err
	}
	// What it does without a command makes it the image that holds a pod's namespaces.
	if err := writeImage(box, p.Dir, image.Config{Name: Busybox, Entrypoint: []string{"/bin/sleep", "infinity"}}); err != nil || p.Bare {
		return err
	}
	if p.PodlvImage == "" {
		file := ImageFile(p.Dir, PodlvImage)
		err := writeAgentImage(file+".part", PodlvImage, filepath.Join(p.Dir, podlvProgram), p.fakeLVM())
		if err == nil {
			err = os.Rename(file+".part", file)
		}
		if err != nil {
			return err
		}
	}
	return makeSidecars(p.Dir, p.Programs)
}

// makeSidecars packs the stock controllers. programs is their folder.
func makeSidecars(dir, programs string) error {
	for _, name := range []string{resizerImage, snapshotterImage} {
		program, _, _ := strings.Cut(path.Base(name), ":")
		r := &image.Rootfs{}
		if err := r.AddAs(filepath.Join(programs, program), "/"+program); err != nil {
			return err
		}
		if err := writeImage(r, dir, image.Config{Name: name, Entrypoint: []string{"/" + program}}); err != nil {
			return err
		}
	}
	return nil
}

// fakeLVM is what the nodes have in the place of LVM; nil where they have LVM.
func (p plan) fakeLVM() *kind.FakeLVM {
	if p.Kind == nil {
		return nil
	}
	lvm := p.Kind.LVM()
	return &lvm
}

// WriteAgentImage writes the archive of an image of podlv, of that name, as the lab's own
// is: with a podlv that is static, and what it runs.
func (l *Lab) WriteAgentImage(file, name, podlv string) error {
	return writeAgentImage(file, name, podlv, l.plan.fakeLVM())
}

// writeAgentImage packs podlv with the programs that it runs; in the place of LVM it has
// the fake one, when there is one.
func writeAgentImage(file, name, podlv string, fake *kind.FakeLVM) error {
	r := &image.Rootfs{}
	if err := r.AddAs(podlv, "/usr/local/bin/podlv"); err != nil {
		return err
	}
	runs, env := podlvPrograms, []string(nil)
	if fake == nil {
		runs = append(realLVM, podlvPrograms...)
	} else {
		if err := r.AddAs(fake.Program, "/usr/local/sbin/lvm"); err != nil {
			return err
		}
		env = fake.Env()
	}
	for _, p := range runs {
		if err := r.AddPrograms(p.programs...); err != nil {
			return err
		}
	}
	if err := r.Add("/etc/mke2fs.conf"); err != nil { // without it mkfs.ext4 makes an ext2
		return err
	}
	r.AddLink("/etc/mtab", "/proc/self/mounts")
	r.AddFolder("/tmp", 0o777|fs.ModeSticky)
	r.AddFolder("/run", 0o755)
	return r.WriteFile(file, image.Config{Name: name, Entrypoint: []string{"/usr/local/bin/podlv"}, Env: env})
}

// AddBusybox adds a shell and the usual commands to an image.
func AddBusybox(ctx context.Context, r *image.Rootfs) error {
	if err := r.AddAs(busybox, "/bin/busybox"); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of busybox: %w", err)
	}
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			r.AddLink("/bin/"+a, "busybox")
		}
	}
	r.AddFolder("/tmp", 0o777|fs.ModeSticky)
	r.AddFolder("/etc", 0o755)
	return nil
}

// writeImage writes an image's archive, which is there when it is whole.
func writeImage(r *image.Rootfs, dir string, c image.Config) error {
	file := ImageFile(dir, c.Name)
	if err := r.WriteFile(file+".part", c); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}
