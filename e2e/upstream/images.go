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
	"slices"
	"strings"

	"github.com/podlv/podlv/e2e/image"
)

// Names of our images; podlv's is the manifest's.
const (
	podlvImage   = "podlv.dev/podlv:demo"
	sandboxImage = "podlv.dev/sandbox:upstream"
)

// Names of the images that the suite's pods ask for, which e2e.test --list-images has.
const (
	agnhostImage = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
	busyboxImage = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"
	// Of nginx the suite wants a shell and ls, to run a script on a volume.
	nginxImage = "registry.k8s.io/e2e-test-images/nginx:1.15-4"
	// Of this one, to which dnsutils were added, a Debian with coreutils' dd: busybox's
	// knows no direct reads and writes.
	debianImage = "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0"
)

// populatorImage is of a deployment that the suite makes; it has our stand-in.
const populatorImage = "registry.k8s.io/sig-storage/hello-populator:v1.0.1"

// debianPrograms are what is in debianImage, without busybox: its shell takes its own
// commands before all others.
var debianPrograms = []struct {
	pkg      string
	programs []string
}{
	{"dash", []string{"/bin/sh"}},
	{"coreutils", []string{
		"base64", "cat", "chmod", "cut", "dd", "head", "id", "ls", "mkdir", "rm", "sha256sum", "sleep", "stat", "sync", "tail", "touch", "true", "wc",
	}},
	{"grep", []string{"grep"}},
	{"util-linux", []string{"blockdev", "mountpoint"}},
	{"mount", []string{"mount"}},
}

// podlvPrograms are what the agent runs, by Debian package.
var podlvPrograms = []struct {
	pkg      string
	programs []string
}{
	{"lvm2", []string{"lvm"}},
	{"thin-provisioning-tools", []string{"thin_check", "thin_dump", "thin_repair"}},
	{"e2fsprogs", []string{"mkfs.ext4", "e2fsck", "resize2fs", "tune2fs"}},
	{"xfsprogs", []string{"mkfs.xfs", "xfs_repair", "xfs_growfs", "xfs_db"}},
	{"btrfs-progs", []string{"mkfs.btrfs", "btrfs"}},
	{"util-linux", []string{"blkid", "wipefs", "nsenter"}}, // nsenter is agnhost's
}

// busybox is a static program, which needs nothing else in its image.
const busybox = "/bin/busybox"

// missingForImages names the programs that are not here, with their packages.
func missingForImages() error {
	var all error
	for _, p := range slices.Concat(podlvPrograms, debianPrograms) {
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

// imageFiles are the paths of all archives.
func imageFiles(dir string) []string {
	var files []string
	for _, n := range []string{sandboxImage, podlvImage, agnhostImage, busyboxImage, nginxImage, debianImage, populatorImage} {
		files = append(files, imageFile(dir, n))
	}
	return files
}

// checkImages compares the names above with those that the suite's program asks for.
func checkImages(ctx context.Context, programs string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(programs, "e2e.test"), "--list-images").Output()
	if err != nil {
		return fmt.Errorf("which images does the suite want? %w", err)
	}
	asked := strings.Fields(string(out))
	for _, n := range []string{agnhostImage, busyboxImage, nginxImage, debianImage} {
		if !slices.Contains(asked, n) {
			return fmt.Errorf("the suite does not ask for image %s any more: see e2e.test --list-images", n)
		}
	}
	return nil
}

// makeImages packs them all.
func makeImages(ctx context.Context, p plan) error {
	if err := os.Mkdir(filepath.Join(p.Dir, "images"), 0o755); err != nil {
		return err
	}
	if err := checkImages(ctx, p.Programs); err != nil {
		return err
	}
	if err := makePodlv(p.Dir); err != nil {
		return err
	}
	agnhost := &image.Rootfs{}
	if err := agnhost.AddAs(filepath.Join(p.Programs, "agnhost"), "/agnhost"); err != nil {
		return err
	}
	// The suite runs commands on a node by nsenter --mount=FILE, which busybox's has not.
	if err := agnhost.AddPrograms("nsenter"); err != nil {
		return err
	}
	populator := &image.Rootfs{}
	if err := populator.AddAs(filepath.Join(p.Dir, populatorProgram), "/hello-populator"); err != nil {
		return err
	}
	debian := &image.Rootfs{}
	for _, p := range debianPrograms {
		if err := debian.AddPrograms(p.programs...); err != nil {
			return err
		}
	}
	debian.AddFolder("/tmp", 0o777|fs.ModeSticky)
	debian.AddFolder("/etc", 0o755)
	sandbox, shell := &image.Rootfs{}, &image.Rootfs{}
	for _, r := range []*image.Rootfs{agnhost, sandbox, shell} {
		if err := addBusybox(ctx, r); err != nil {
			return err
		}
	}
	for _, i := range []struct {
		files  *image.Rootfs
		config image.Config
	}{
		{agnhost, image.Config{Name: agnhostImage, Entrypoint: []string{"/agnhost"}, Command: []string{"pause"}}},
		{shell, image.Config{Name: busyboxImage, Command: []string{"sh"}}},
		{shell, image.Config{Name: nginxImage, Command: []string{"sh"}}},
		{debian, image.Config{Name: debianImage, Command: []string{"sh"}}},
		{populator, image.Config{Name: populatorImage, Entrypoint: []string{"/hello-populator"}}},
		{sandbox, image.Config{Name: sandboxImage, Entrypoint: []string{"/bin/sleep", "infinity"}}},
	} {
		if err := i.files.WriteFile(imageFile(p.Dir, i.config.Name), i.config); err != nil {
			return err
		}
	}
	return nil
}

// makePodlv packs podlv with what it runs.
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
	return agent.WriteFile(imageFile(dir, podlvImage), image.Config{Name: podlvImage, Entrypoint: []string{"/usr/local/bin/podlv"}})
}

// addBusybox adds a shell and the usual commands.
func addBusybox(ctx context.Context, r *image.Rootfs) error {
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
