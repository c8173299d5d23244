// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// hostLVM says why tests cannot run on the host's own LVM; nil when they can.
func hostLVM() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	if misc, err := os.ReadFile("/proc/misc"); err != nil {
		return err
	} else if !strings.Contains(string(misc), "device-mapper") {
		return errors.New("the kernel has no device-mapper loaded: modprobe dm-mod, if it has one")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return errors.New("the kernel has no loop devices")
	}
	for program, pkg := range map[string]string{"lvm": "lvm2", "losetup": "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("no %s: apt-get install %s", program, pkg)
		}
	}
	return nil
}

// onThisHost runs the test binary on loop devices over the images. lvm is
// configured to see nothing but them.
func (r *runner) onThisHost(ctx context.Context, j *job, work string, images []string) (code int, err error) {
	p, args := j.p, j.args
	env := append(os.Environ(), "PATH="+r.programs()+":"+os.Getenv("PATH"))
	if p.ImportPath != harness {
		disks, detach, err := attach(ctx, images)
		defer detach()
		if err != nil {
			return 0, err
		}
		_, noUdev := os.Stat("/run/udev/control")
		config := filepath.Join(work, "lvm-config")
		if err := os.Mkdir(config, 0o755); err != nil {
			return 0, err
		}
		if err := os.WriteFile(filepath.Join(config, "lvm.conf"), []byte(microvm.LVMConfig(disks, noUdev == nil)), 0o644); err != nil {
			return 0, err
		}
		env = append(env, "LVM_SYSTEM_DIR="+config)
		args = r.withDisks(ctx, p, disks, args)
		defer deactivate(env)
	}
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Dir, cmd.Env = p.Dir, env
	cmd.Stdout, cmd.Stderr = j.out, j.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	start := time.Now()
	err = cmd.Run()
	r.say(j.out, "test binary ended after %.1fs", time.Since(start).Seconds())
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	}
	return 0, err
}

// attach makes loop devices over the images. detach must be called also after an
// error.
func attach(ctx context.Context, images []string) (disks []string, detach func(), err error) {
	detach = func() {
		for _, d := range disks {
			_ = exec.Command("losetup", "--detach", d).Run()
		}
	}
	for _, image := range images {
		out, err := quietly(exec.CommandContext(ctx, "losetup", "--find", "--show", image))
		if err != nil {
			return disks, detach, err
		}
		disks = append(disks, strings.TrimSpace(string(out)))
	}
	return disks, detach, nil
}

// deactivate takes away what a failed test left over the loop devices, so that
// they can be detached. It touches only what lvm sees with this environment.
func deactivate(env []string) {
	cmd := exec.Command("lvm", "vgchange", "--quiet", "--quiet", "--activate", "n")
	cmd.Env = env
	_ = cmd.Run()
}
