// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxDisks is the number of ubd devices after ubd0 (MAX_DEV in the kernel's
// arch/um/drivers/ubd_kern.c is 16).
const maxDisks = 15

// Config says what machine to boot and what to run in it.
type Config struct {
	// Command is run by process 1, looked up on the guest's PATH. Required.
	Command []string
	// Env is added to the command's environment, "NAME=value". The host's PATH,
	// HOME, LANG and TERM are there already.
	Env []string
	// Dir is the command's working folder; "/" when empty.
	Dir string
	// Memory of the machine, "512M" or "2G"; "1G" when empty. It is taken from the
	// host's /dev/shm as the guest uses it.
	Memory string
	// CPU is which of this process's CPUs the machine runs on, counted from the
	// last, modulo their number: machines side by side want different ones.
	CPU int
	// Disks are paths of image files, at most 15. The guest writes to them.
	Disks []string
	// Share is a folder of the host that the guest can write, at the same path. A
	// temporary one, removed at the end, when empty.
	Share string
	// Visible are files and folders of the host that must be seen in the guest
	// although they lie under /tmp or another place that is empty there. Dir, and a
	// Command with an absolute path, always are.
	Visible []string
	// Modules are the kernel modules to load, with what they depend on;
	// DefaultModules when nil. Each costs boot time.
	Modules []string
	// Tap is the name of a tap device that becomes vec0 in the guest; none when
	// empty. The command gives vec0 its address.
	Tap string
	// Init is the executable that calls GuestMain; this one when empty.
	Init string
	// Console gets what the command prints on stdout and stderr, in its order,
	// unchanged, and nothing of the kernel's; nowhere when nil.
	Console io.Writer
	// OnBoot is called before each boot with its number, from 1; may be nil.
	OnBoot func(boot int)
}

// ErrKilled is what Wait returns after Kill.
var ErrKilled = errors.New("the machine was killed")

// DiedError is a machine that ended by itself without an exit status of the
// command: a kernel panic, or a process 1 that could not do its work.
type DiedError struct {
	Boot   int
	Reason string // process 1's own words, or what became of the kernel's process
	Log    string // the end of the kernel's log
}

// Error is the reason and then the end of the kernel's log.
func (e *DiedError) Error() string {
	return fmt.Sprintf("the machine died in boot %d: %s\nend of the kernel's log:\n%s", e.Boot, e.Reason, e.Log)
}

// Machine is one microVM, through all the boots that its command asks for.
type Machine struct {
	cfg     Config
	ownsDir bool // the share is ours to remove
	kill    chan struct{}
	done    chan struct{}
	code    int
	err     error
}

// Start boots a machine and returns at once. The end of ctx kills it. The caller
// must call Wait.
func Start(ctx context.Context, cfg Config) (*Machine, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("start a machine: %w", err)
	}
	m := &Machine{cfg: cfg, kill: make(chan struct{}, 1), done: make(chan struct{})}
	if m.cfg.Share == "" {
		dir, err := os.MkdirTemp("", "microvm-")
		if err != nil {
			return nil, fmt.Errorf("start a machine: %w", err)
		}
		m.cfg.Share, m.ownsDir = dir, true
	}
	// Notes of an earlier machine on the same share must not speak for this one.
	state := filepath.Join(m.cfg.Share, stateFolder)
	err := os.RemoveAll(state)
	if err == nil {
		err = os.MkdirAll(state, 0o755)
	}
	var out *os.File
	if err == nil {
		out, err = os.OpenFile(output(m.cfg.Share), os.O_RDONLY|os.O_CREATE, 0o644)
	}
	if err != nil {
		m.removeShare()
		return nil, fmt.Errorf("start a machine: %w", err)
	}
	go func() {
		defer close(m.done)
		defer m.removeShare()
		defer out.Close()
		m.code, m.err = m.run(ctx, out)
	}()
	return m, nil
}

// complete fills in the defaults and refuses what the kernel's command line
// cannot say.
func (c *Config) complete() error {
	if len(c.Command) == 0 {
		return errors.New("no command")
	}
	if c.CPU < 0 {
		return fmt.Errorf("CPU %d: want 0 or more", c.CPU)
	}
	if len(c.Disks) > maxDisks {
		return fmt.Errorf("%d disks, at most %d can be attached", len(c.Disks), maxDisks)
	}
	if c.Memory == "" {
		c.Memory = "1G"
	}
	if err := roomForMemory(c.Memory); err != nil {
		return err
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	if c.Console == nil {
		c.Console = io.Discard
	}
	if c.OnBoot == nil {
		c.OnBoot = func(int) {}
	}
	if c.Modules == nil {
		c.Modules = DefaultModules()
	}
	if c.Init == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		c.Init = self
	}
	disks := append([]string(nil), c.Disks...)
	for _, p := range []*string{&c.Init, &c.Share, &c.Dir} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	for i, d := range disks {
		abs, err := filepath.Abs(d)
		if err != nil {
			return err
		}
		if _, err := os.Stat(abs); err != nil {
			return fmt.Errorf("disk %d: %w", i+1, err)
		}
		disks[i] = abs
	}
	c.Disks = disks
	for _, word := range append([]string{c.Init, c.Share, c.Memory, c.Tap}, c.Disks...) {
		if strings.ContainsAny(word, " \t\n\"',:") {
			return fmt.Errorf("%q: blanks, quotes, commas and colons cannot stand on the kernel's command line", word)
		}
	}
	return nil
}

// roomForMemory refuses memory that the host's /dev/shm cannot give: the kernel
// would die of SIGBUS in the middle of something.
func roomForMemory(memory string) error {
	want, err := ParseSize(memory)
	if err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(memoryFolder, &s); err != nil || s.Type != unix.TMPFS_MAGIC {
		return nil // the kernel takes a folder for temporary files then
	}
	if free := int64(s.Bavail) * s.Bsize; free < want {
		return fmt.Errorf("a machine of %s takes its memory from %s, which has %d MiB free: mount -o remount,size=4G %s", memory, memoryFolder, free>>20, memoryFolder)
	}
	return nil
}

// Kill cuts the machine's power: SIGKILL to the whole process group. Its memory
// is lost, its disks stay as they are. Wait then returns ErrKilled. Killing twice,
// or after the end, does nothing.
func (m *Machine) Kill() {
	select {
	case m.kill <- struct{}{}:
	default:
	}
}

// Done is closed when Wait would return at once.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Wait returns when the machine has ended, all of its processes are gone and all
// output was written to Console. The code is the command's exit status, 128 and
// the signal's number when a signal ended it. The error is ErrKilled, the
// context's error, a *DiedError, or that of a machine that could not be started;
// the code means nothing then. It may be called more than once.
func (m *Machine) Wait() (exitCode int, err error) {
	<-m.done
	return m.code, m.err
}

// Run is Start and Wait.
func Run(ctx context.Context, cfg Config) (exitCode int, err error) {
	m, err := Start(ctx, cfg)
	if err != nil {
		return 0, err
	}
	return m.Wait()
}

func (m *Machine) removeShare() {
	if m.ownsDir {
		os.RemoveAll(m.cfg.Share)
	}
}

// run boots until the command ends in some other way than by Crash.
func (m *Machine) run(ctx context.Context, out *os.File) (int, error) {
	for boot := 1; ; boot++ {
		m.cfg.OnBoot(boot)
		crashed, code, err := m.boot(ctx, boot, out)
		if !crashed {
			return code, err
		}
	}
}

// boot runs one boot to its end. crashed means that the guest asked for it.
func (m *Machine) boot(ctx context.Context, boot int, out *os.File) (crashed bool, code int, err error) {
	share := m.cfg.Share
	s := spec{
		Boot: boot, Share: share, Disks: DiskNames(len(m.cfg.Disks)), Command: m.cfg.Command, Dir: m.cfg.Dir,
		Env: append(inherited(), m.cfg.Env...), Visible: m.cfg.Visible, Modules: m.cfg.Modules,
	}
	if err := writeNote(note(share, "spec", boot), s); err != nil {
		return false, 0, err
	}
	log, err := os.Create(note(share, "kernel", boot))
	if err != nil {
		return false, 0, err
	}
	defer log.Close()
	k, err := startKernel(m.kernelArgs(boot), m.cfg.CPU, log)
	if err != nil {
		return false, 0, fmt.Errorf("start the kernel: %w", err)
	}
	var why error // why we ended it
	var res result
	var resErr error
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	wake := time.NewTicker(time.Second)
	defer wake.Stop()
	for running := true; running; {
		select {
		case <-k.ended:
			running = false
			continue
		case <-ctx.Done():
			why = ctx.Err()
		case <-m.kill:
			why = ErrKilled
		case <-wake.C:
			k.wake()
			continue
		case <-tick.C:
			if _, err := io.Copy(m.cfg.Console, out); err != nil {
				why = fmt.Errorf("print what the command says: %w", err)
				break
			}
			if _, err := os.Stat(note(share, "crash", boot)); err == nil {
				crashed = true
			} else if resErr = readNote(note(share, "result", boot), &res); resErr != nil {
				continue
			}
			// Everything was synced before the result was written, so a machine that
			// has told it may end as fast as one that asked to crash.
		}
		k.kill()
		<-k.ended
		running = false
	}
	if _, err := io.Copy(m.cfg.Console, out); err != nil && why == nil {
		why = fmt.Errorf("print what the command says: %w", err)
	}
	switch {
	case why != nil:
		return false, 0, why
	case crashed:
		return true, 0, nil
	}
	err = readNote(note(share, "result", boot), &res)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, 0, &DiedError{Boot: boot, Reason: "the kernel's process ended: " + k.state, Log: tail(log.Name())}
	case err != nil:
		return false, 0, err
	case res.Error != "":
		return false, 0, &DiedError{Boot: boot, Reason: res.Error, Log: tail(log.Name())}
	}
	return false, res.Code, nil
}

// inherited is the part of this process's environment that a command of the host
// needs to be itself in the guest.
func inherited() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "LANG", "TERM"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// kernelArgs is the kernel's command line.
func (m *Machine) kernelArgs(boot int) []string {
	state := filepath.Join(m.cfg.Share, stateFolder)
	args := []string{
		"mem=" + m.cfg.Memory,
		"root=/dev/root", "rootfstype=hostfs", "hostfs=/", "ro", "init=" + m.cfg.Init,
		// The kernel's console is its log file; the command's output goes another way.
		"con=null", "con0=fd:0,fd:1", "quiet", "loglevel=4", "panic=-1",
		// Where the kernel's process keeps its pid and socket; else in the home folder.
		"uml_dir=" + state + "/",
		specVariable + "=" + note(m.cfg.Share, "spec", boot),
	}
	for i, d := range m.cfg.Disks {
		// c: a disk whose first bytes look like a copy-on-write header is a disk all the same.
		args = append(args, fmt.Sprintf("ubd%dc=%s", i+1, d))
	}
	if m.cfg.Tap != "" {
		args = append(args, "vec0:transport=tap,ifname="+m.cfg.Tap+",depth=64")
	}
	return args
}

// kernel is the process group of one booted User-Mode Linux.
type kernel struct {
	group int
	ended chan struct{}
	state string // how it ended; to be read after ended
}

// guard waits for a process group's number and then for the end of its standard
// input, which comes when this process ends, in whatever way; then it ends the
// group. A kernel, or at least its helpers, would outlive this process otherwise.
const guard = `read -r group; read -r _; kill -KILL "-$group"`

// startKernel starts linux.uml on one CPU, in a session of its own that dies with us.
func startKernel(args []string, cpu int, log *os.File) (*kernel, error) {
	program, err := lookPath(kernelProgram)
	if err != nil {
		return nil, err
	}
	watcher := exec.Command("/bin/sh", "-c", guard)
	watcher.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not reach it
	alive, err := watcher.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := watcher.Start(); err != nil {
		return nil, err
	}
	k := &kernel{ended: make(chan struct{})}
	dismiss := func() {
		_ = watcher.Process.Kill()
		_ = watcher.Wait()
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	// The kernel would make itself a session anyway; so its group exists at once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := startOnCPU(cmd, cpu); err != nil {
		dismiss()
		return nil, err
	}
	k.group = cmd.Process.Pid
	_, werr := fmt.Fprintln(alive, k.group)
	go func() {
		defer close(k.ended)
		_ = cmd.Wait()
		k.state = cmd.ProcessState.String()
		k.kill() // the helpers of a kernel that ended by itself
		dismiss()
		for range 1000 { // a process that was killed is not gone at once
			if !groupLives(k.group) {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	if werr != nil {
		k.kill()
		<-k.ended
		return nil, werr
	}
	return k, nil
}

// kill ends the process group at once.
func (k *kernel) kill() { _ = syscall.Kill(-k.group, syscall.SIGKILL) }

// wake makes the kernel look at its timers. Linux 6.1's User-Mode Linux loses, once
// in many minutes of work, the signal that says that one has run out, and then
// idles at full speed for ever. A signal too many costs it nothing; one that comes
// before it has a handler would end it.
func (k *kernel) wake() {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", k.group))
	if err == nil && catches(string(status), syscall.SIGALRM) {
		_ = syscall.Kill(k.group, syscall.SIGALRM)
	}
}

// catches tells from a process's status whether it has a handler for a signal.
func catches(status string, s syscall.Signal) bool {
	_, rest, ok := strings.Cut(status, "\nSigCgt:")
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return ok && err == nil && mask&(1<<(s-1)) != 0
}

// groupLives tells whether a process group has a process that is more than a
// zombie, for which its parent is to blame.
func groupLives(group int) bool {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return false
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // gone
		}
		// proc(5): "pid (name) state parent group …"; the name may have any character.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) > 2 && fields[2] == strconv.Itoa(group) && fields[0] != "Z" && fields[0] != "X" {
			return true
		}
	}
	return false
}

// tail is the last lines of a log file.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if n := len(lines); n > 40 {
		lines = lines[n-40:]
	}
	return strings.Join(lines, "\n")
}
