// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hostRoot is where, in the guest, the host's whole file system can be seen, also
// what lies under /tmp and the other places that are empty there.
const hostRoot = "/run/microvm/host"

// GuestMain is process 1 of a machine. An executable that boots machines calls it
// first thing in main or TestMain: it returns at once unless this process is
// process 1 of a machine, and never returns if it is.
func GuestMain() {
	path := os.Getenv(specVariable)
	if os.Getpid() != 1 || path == "" {
		return
	}
	var s spec
	err := readNote(path, &s)
	var res result
	if err == nil {
		res.Code, err = s.guest()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "microvm:", err)
		res.Error = err.Error()
	}
	unix.Sync()
	if s.Share != "" {
		if err := writeNote(note(s.Share, "result", s.Boot), res); err != nil {
			fmt.Fprintln(os.Stderr, "microvm:", err)
		}
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	block()
}

// guest makes the machine fit to live in and runs the command.
func (s *spec) guest() (code int, err error) {
	if err := s.mounts(); err != nil {
		return 0, err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return 0, err
	}
	if err := loadModules(unix.ByteSliceToString(u.Release[:]), s.Modules); err != nil {
		return 0, err
	}
	if err := unix.Sethostname([]byte("microvm")); err != nil {
		return 0, err
	}
	if err := loopbackUp(); err != nil {
		return 0, err
	}
	if err := writeLVMConfig(s.Disks); err != nil {
		return 0, err
	}
	return s.command()
}

// mounts makes the tree of mounts. The spec was read before: the share can be
// hidden by what is mounted here until it is mounted itself.
func (s *spec) mounts() error {
	type m struct {
		kind, source, target, options string
		flags                         uintptr
	}
	for _, m := range []m{
		{kind: "proc", target: "/proc"},
		{kind: "sysfs", target: "/sys"},
		{kind: "devtmpfs", target: "/dev"},
		{kind: "devpts", target: "/dev/pts", options: "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{kind: "tmpfs", target: "/dev/shm", options: "mode=1777"},
		{kind: "tmpfs", target: "/run", options: "mode=0755"},
		{kind: "cgroup2", target: "/sys/fs/cgroup"},
		{source: "/", target: hostRoot, flags: unix.MS_BIND},
		{kind: "tmpfs", target: "/tmp", options: "mode=1777"},
		{kind: "tmpfs", target: "/var/lib", options: "mode=0755"},
	} {
		if m.source == "" {
			m.source = m.kind
		}
		err := mount(m.source, m.target, m.kind, m.flags, m.options)
		if errors.Is(err, unix.EBUSY) && m.kind == "devtmpfs" { // the kernel may have done it
			continue
		}
		if err != nil {
			return err
		}
	}
	if err := s.showHost(); err != nil {
		return err
	}
	if err := mount("none", s.Share, "hostfs", 0, s.Share); err != nil {
		return err
	}
	for _, l := range [][2]string{
		{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"},
	} {
		if err := os.Symlink(l[0], l[1]); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	// As systemd does: what kubelet's folder propagates must reach everybody.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share all mounts: %w", err)
	}
	for _, dir := range []string{"/run/lock/lvm", "/run/lvm", "/var/lib/kubelet"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// mount is mount(2) that makes its mount point and names it in its error.
func mount(source, target, kind string, flags uintptr, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}

// showHost makes the files and folders of the host that the command needs seen
// where an empty place hides them. It comes before the share's mount, whose mount
// point may lie in one of them.
func (s *spec) showHost() error {
	visible := append([]string{s.Dir}, s.Visible...)
	if filepath.IsAbs(s.Command[0]) {
		visible = append(visible, s.Command[0])
	}
	// A folder before what is in it: an empty one made on the way would hide it.
	slices.SortFunc(visible, func(a, b string) int { return len(a) - len(b) })
	for _, path := range visible {
		if _, err := os.Stat(path); err == nil {
			continue // not hidden
		}
		info, err := os.Stat(hostRoot + path)
		if err != nil {
			return fmt.Errorf("show a path of the host: %w", err)
		}
		if !info.IsDir() {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, nil, 0o644); err != nil { // to be mounted on
				return err
			}
			if err := unix.Mount(hostRoot+path, path, "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("show a file of the host: mount on %s: %w", path, err)
			}
			continue
		}
		if err := mount(hostRoot+path, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("show a folder of the host: %w", err)
		}
	}
	return nil
}

// loopbackUp is "ip link set lo up".
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// command runs the command to its end, and meanwhile buries the orphans that
// come to process 1. Both of its streams are one file of the share: a write there
// is on the host before it returns, so nothing that was printed is lost with the
// machine.
func (s *spec) command() (code int, err error) {
	out, err := os.OpenFile(output(s.Share), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, err
	}
	defer null.Close()
	env := s.environment()
	program, err := findProgram(s.Command[0], env)
	if err != nil {
		return 0, err
	}
	p, err := os.StartProcess(program, s.Command, &os.ProcAttr{Dir: s.Dir, Env: env, Files: []*os.File{null, out, out}})
	if err != nil {
		return 0, err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the command: %w", err)
		case pid == p.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == p.Pid:
			return status.ExitStatus(), nil
		}
	}
}

// environment is the command's. Later entries win.
func (s *spec) environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/",
		"LVM_SYSTEM_DIR=" + lvmFolder,
		shareVariable + "=" + s.Share,
		bootVariable + "=" + strconv.Itoa(s.Boot),
		disksVariable + "=" + strings.Join(s.Disks, ","),
	}
	env = append(env, s.Env...)
	env = append(env, "TMPDIR=/tmp", "LVM_SUPPRESS_FD_WARNINGS=1")
	// Of a name that is there twice, getenv(3) would find the first.
	last := map[string]int{}
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		last[name] = i
	}
	var unique []string
	for i, e := range env {
		if name, _, _ := strings.Cut(e, "="); last[name] == i {
			unique = append(unique, e)
		}
	}
	return unique
}

// findProgram is exec.LookPath on the command's own PATH, with the folders of a
// system administrator's programs at its end.
func findProgram(name string, env []string) (string, error) {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			if err := os.Setenv("PATH", v+":/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
				return "", err
			}
		}
	}
	return exec.LookPath(name)
}

// block never returns.
func block() {
	for {
		time.Sleep(time.Hour)
	}
}
