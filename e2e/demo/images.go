// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/podlv/podlv/e2e/image"
)

// Names of the images; the manifests have them too.
const (
	podlvImage       = "podlv.dev/podlv:demo"
	busyboxImage     = "podlv.dev/busybox:demo"
	resizerImage     = "podlv.dev/csi-resizer:demo"
	snapshotterImage = "podlv.dev/snapshot-controller:demo"
)

// podlvProgram is podlv itself, in the demo's folder.
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

// imageFile is the path of an image's archive.
func imageFile(dir, name string) string {
	base := name[strings.LastIndex(name, "/")+1 : strings.LastIndex(name, ":")]
	return filepath.Join(dir, "images", base+".tar")
}

// buildPodlv builds podlv, as it is released: static.
func buildPodlv(ctx context.Context, root, dir string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w -X main.version=demo", "-o", filepath.Join(dir, podlvProgram), "./cmd/podlv")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build podlv: %w\n%s", err, out)
	}
	return nil
}

// imageFiles are the archives of all images.
func imageFiles(dir string) []string {
	var files []string
	for _, name := range []string{busyboxImage, podlvImage, resizerImage, snapshotterImage} {
		files = append(files, imageFile(dir, name))
	}
	return files
}

// makeImages packs the images. programs is the folder of those that are static.
func makeImages(ctx context.Context, dir, programs string) error {
	for _, name := range []string{resizerImage, snapshotterImage} {
		program := strings.TrimSuffix(filepath.Base(imageFile(dir, name)), ".tar")
		r := &image.Rootfs{}
		if err := r.AddAs(filepath.Join(programs, program), "/"+program); err != nil {
			return err
		}
		if err := writeImage(r, dir, image.Config{Name: name, Entrypoint: []string{"/" + program}}); err != nil {
			return err
		}
	}
	if _, err := os.Stat(imageFile(dir, podlvImage)); err != nil {
		if err := makePodlv(dir); err != nil {
			return err
		}
	}
	return makeBusybox(ctx, dir)
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
	return writeImage(agent, dir, image.Config{Name: podlvImage, Entrypoint: []string{"/usr/local/bin/podlv"}})
}

// makeBusybox packs the image of the pods.
func makeBusybox(ctx context.Context, dir string) error {
	box := &image.Rootfs{}
	if err := box.AddAs(busybox, "/bin/busybox"); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of busybox: %w", err)
	}
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			box.AddLink("/bin/"+a, "busybox")
		}
	}
	box.AddFolder("/tmp", 0o777|fs.ModeSticky)
	box.AddFolder("/etc", 0o755)
	// What it does without a command makes it the image that holds a pod's namespaces.
	return writeImage(box, dir, image.Config{Name: busyboxImage, Entrypoint: []string{"/bin/sleep", "infinity"}})
}

// writeImage writes an image's archive, which is there when it is whole.
func writeImage(r *image.Rootfs, dir string, c image.Config) error {
	file := imageFile(dir, c.Name)
	if err := r.WriteFile(file+".part", c); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}
