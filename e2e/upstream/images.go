// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podlv/podlv/e2e/image"
	"github.com/podlv/podlv/e2e/lab"
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

// missingForImages names the programs that are not here, with their packages.
func missingForImages() error {
	var all error
	for _, p := range debianPrograms {
		if err := (&image.Rootfs{}).AddPrograms(p.programs...); err != nil {
			all = errors.Join(all, fmt.Errorf("%w: apt-get install %s", err, p.pkg))
		}
	}
	return all
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

// makeImages packs them all, and gives their archives.
func makeImages(ctx context.Context, dir, programs string) (archives []string, err error) {
	if err := checkImages(ctx, programs); err != nil {
		return nil, err
	}
	agnhost := &image.Rootfs{}
	if err := agnhost.AddAs(filepath.Join(programs, "agnhost"), "/agnhost"); err != nil {
		return nil, err
	}
	// The suite runs commands on a node by nsenter --mount=FILE, which busybox's has not.
	if err := agnhost.AddPrograms("nsenter"); err != nil {
		return nil, err
	}
	populator := &image.Rootfs{}
	if err := populator.AddAs(filepath.Join(dir, populatorProgram), "/hello-populator"); err != nil {
		return nil, err
	}
	debian := &image.Rootfs{}
	for _, p := range debianPrograms {
		if err := debian.AddPrograms(p.programs...); err != nil {
			return nil, err
		}
	}
	debian.AddFolder("/tmp", 0o777|fs.ModeSticky)
	debian.AddFolder("/etc", 0o755)
	shell := &image.Rootfs{}
	for _, r := range []*image.Rootfs{agnhost, shell} {
		if err := lab.AddBusybox(ctx, r); err != nil {
			return nil, err
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
	} {
		archive := lab.ImageFile(dir, i.config.Name)
		if err := i.files.WriteFile(archive, i.config); err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}
