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

// podlvProgram is podlv itself, in the lab's folder.
const podlvProgram = "podlv"

// podlvPrograms are what the agent runs, by Debian package: what a Dockerfile of
// podlv would install.
var podlvPrograms = []struct {
	pkg      string
	programs []string
}{
	{"lvm2", []string{"lvm"}},
	{"thin-provisioning-tools", []string{"thin_check", "thin_dump", "thin_repair"}},
	{"e2fsprogs", []string{"mkfs.ext4", "e2fsck", "resize2fs", "tune2fs"}},
	{"xfsprogs", []string{"mkfs.xfs", "xfs_repair", "xfs_growfs", "xfs_db"}},
	{"btrfs-progs", []string{"mkfs.btrfs", "btrfs"}},
	{"util-linux", []string{"blkid", "wipefs"}},
}

// busybox is a static program, which needs nothing else in its image.
const busybox = "/bin/busybox"

// missingForImages names the programs that are not here, with their packages.
func missingForImages() error {
	var all error
	for _, p := range podlvPrograms {
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
		if err := makePodlv(p.Dir); err != nil {
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

// makePodlv packs podlv with the programs that it runs.
func makePodlv(dir string) error {
	agent := &image.Rootfs{}
	if err := agent.AddAs(filepath.Join(dir, podlvProgram), "/usr/local/bin/podlv"); err != nil {
		return err
	}
	for _, p := range podlvPrograms {
		if err := agent.AddPrograms(p.programs...); err != nil {
			return err
		}
	}
	if err := agent.Add("/etc/mke2fs.conf"); err != nil { // without it mkfs.ext4 makes an ext2
		return err
	}
	agent.AddLink("/etc/mtab", "/proc/self/mounts")
	agent.AddFolder("/tmp", 0o777|fs.ModeSticky)
	agent.AddFolder("/run", 0o755)
	return writeImage(agent, dir, image.Config{Name: PodlvImage, Entrypoint: []string{"/usr/local/bin/podlv"}})
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
