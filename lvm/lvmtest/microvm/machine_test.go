// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

// These tests boot machines. test-lvm runs them on the host; so does
// go test -tags reallvm, but not with -race: the race detector's memory layout
// does not fit into a User-Mode Linux process.

package microvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// guestVariable makes this test binary, as a command in a machine or as a host of
// one, run one of the functions below instead of the tests.
const guestVariable = "MICROVM_TEST_FUNCTION"

func TestMain(m *testing.M) {
	GuestMain()
	functions := map[string]func() error{
		"writeAndCrash": writeAndCrash, "flakey": useFlakey, "host": hostForEver,
	}
	if f, ok := functions[os.Getenv(guestVariable)]; ok {
		if err := f(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// config is a machine with one disk that runs a command and keeps its output.
func config(t *testing.T, command ...string) (Config, *bytes.Buffer) {
	t.Helper()
	if err := Missing(); err != nil {
		t.Skip(err)
	}
	if testing.Short() {
		t.Skip("boots a machine; not with -short")
	}
	dir := t.TempDir()
	disks, err := MakeDisks(dir, 1, 256<<20)
	require.NoError(t, err)
	share := filepath.Join(dir, "share")
	require.NoError(t, os.Mkdir(share, 0o755))
	out := &bytes.Buffer{}
	return Config{Command: command, Disks: disks, Memory: "512M", Share: share, Console: out}, out
}

// function is config for one of this file's functions.
func function(t *testing.T, name string) (Config, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cfg, out := config(t, self)
	cfg.Env = []string{guestVariable + "=" + name}
	return cfg, out
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// processesOf are the processes of this host that were started with share on
// their command line.
func processesOf(t *testing.T, share string) []string {
	t.Helper()
	var found []string
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), share) {
			found = append(found, f+": "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

func TestCommandRunsOnRealLVMAndItsOutputIsUnmangled(t *testing.T) {
	script := `printf 'one\n'; printf 'two\n' >&2; printf 'three\tno newline|'
vgcreate -q -q v "$PODLV_MICROVM_DISKS" >/dev/null && lvcreate -q -q -y -L 32m -T v/p -V 24m -n thin >/dev/null
lvs --noheadings -o lv_name,lv_size --units m v | tr -d ' '; mkfs.ext4 -q /dev/v/thin && mount /dev/v/thin /var/lib/kubelet && findmnt -no FSTYPE /var/lib/kubelet
echo kept > "$PODLV_MICROVM_SHARE/file"; touch /etc/x 2>/dev/null || echo read-only; exit 3`
	cfg, out := config(t, "sh", "-c", script)
	code, err := Run(within(t, time.Minute), cfg)
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\nthree\tno newline|p32.00m\nthin24.00m\next4\nread-only\n", out.String())
	require.Equal(t, 3, code)
	kept, err := os.ReadFile(filepath.Join(cfg.Share, "file"))
	require.NoError(t, err)
	require.Equal(t, "kept\n", string(kept))
	require.Empty(t, processesOf(t, cfg.Share))
}

func TestSignalledCommandHasShellsExitCode(t *testing.T) {
	cfg, _ := config(t, "sh", "-c", "kill -9 $$")
	code, err := Run(within(t, time.Minute), cfg)
	require.NoError(t, err)
	require.Equal(t, 137, code)
}

func TestCommandThatIsNotThere(t *testing.T) {
	cfg, _ := config(t, "no-such-program")
	_, err := Run(within(t, time.Minute), cfg)
	var died *DiedError
	require.ErrorAs(t, err, &died)
	require.Contains(t, died.Reason, "no-such-program")
}

func TestUnknownModuleIsNamed(t *testing.T) {
	cfg, _ := config(t, "true")
	cfg.Modules = []string{"dm-mod", "dm-nonsense"}
	_, err := Run(within(t, time.Minute), cfg)
	require.ErrorContains(t, err, `no kernel module "dm-nonsense"`)
}

func TestMachineThatDiesTellsTheKernelsLastWords(t *testing.T) {
	cfg, out := config(t, "sh", "-c", "echo before; kill -SEGV 1; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 100")
	_, err := Run(within(t, time.Minute), cfg)
	var died *DiedError
	require.ErrorAs(t, err, &died)
	require.Contains(t, died.Log, "Kernel panic")
	require.Equal(t, "before\n", out.String())
	require.Empty(t, processesOf(t, cfg.Share))
}

func TestEndOfContextKillsAHangingCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t, time.Minute))
	cfg, _ := config(t, "sh", "-c", "echo up; sleep 1000")
	cfg.Console = writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	_, err := Run(ctx, cfg)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, processesOf(t, cfg.Share))
}

func TestKillEndsTheMachine(t *testing.T) {
	cfg, _ := config(t, "sh", "-c", "echo up; sleep 1000")
	up := make(chan struct{})
	cfg.Console = writerFunc(func(p []byte) (int, error) { close(up); return len(p), nil })
	m, err := Start(within(t, time.Minute), cfg)
	require.NoError(t, err)
	<-up
	m.Kill()
	m.Kill()
	_, err = m.Wait()
	require.ErrorIs(t, err, ErrKilled)
	require.Empty(t, processesOf(t, cfg.Share))
}

func TestMachineDiesWithItsHost(t *testing.T) {
	cfg, _ := config(t, "")
	host := exec.Command(os.Args[0])
	host.Env = append(os.Environ(), guestVariable+"=host", "SHARE="+cfg.Share)
	require.NoError(t, host.Start())
	up := filepath.Join(cfg.Share, "up")
	require.Eventually(t, func() bool { _, err := os.Stat(up); return err == nil }, 30*time.Second, 10*time.Millisecond)
	require.NotEmpty(t, processesOf(t, cfg.Share))
	require.NoError(t, host.Process.Kill())
	_ = host.Wait()
	require.Eventually(t, func() bool { return len(processesOf(t, cfg.Share)) == 0 }, 5*time.Second, 10*time.Millisecond)
}

// hostForEver is the host of TestMachineDiesWithItsHost.
func hostForEver() error {
	share := os.Getenv("SHARE")
	_, err := Run(context.Background(), Config{
		Command: []string{"sh", "-c", "touch $PODLV_MICROVM_SHARE/up; sleep 1000"}, Share: share, Memory: "512M",
	})
	return err
}

func TestPowerLossLosesWhatWasNotSyncedAndKeepsTheRest(t *testing.T) {
	cfg, out := function(t, "writeAndCrash")
	var boots []int
	cfg.OnBoot = func(n int) { boots = append(boots, n) }
	code, err := Run(within(t, time.Minute), cfg)
	require.NoError(t, err)
	require.Equal(t, "boot 1\nboot 2\nboot 3\n", out.String())
	require.Zero(t, code)
	require.Equal(t, []int{1, 2, 3}, boots)
}

// writeAndCrash is the command of TestPowerLossLosesWhatWasNotSyncedAndKeepsTheRest.
func writeAndCrash() error {
	fmt.Println("boot", Boot())
	device := Disks()[0]
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	synced, unsynced := []byte("synced"), []byte("in memory only")
	const far = 64 << 20
	switch Boot() {
	case 1:
		if _, err := f.WriteAt(synced, 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if _, err := f.WriteAt(unsynced, far); err != nil {
			return err
		}
		Crash()
	case 2:
		found := make([]byte, len(synced))
		if _, err := f.ReadAt(found, 0); err != nil || !bytes.Equal(found, synced) {
			return fmt.Errorf("synced data after the crash: %q, %v", found, err)
		}
		found = make([]byte, len(unsynced))
		if _, err := f.ReadAt(found, far); err != nil || bytes.Equal(found, unsynced) {
			return fmt.Errorf("unsynced data after the crash: %q, %v", found, err)
		}
		if _, err := os.Stat("/tmp/memory"); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("memory outlived the crash: %v", err)
		}
		Crash()
	}
	return os.WriteFile("/tmp/memory", nil, 0o600)
}

func TestFlakeyDiskFailsAndHeals(t *testing.T) {
	cfg, out := function(t, "flakey")
	code, err := Run(within(t, time.Minute), cfg)
	require.NoError(t, err)
	require.Zero(t, code, out.String())
}

// useFlakey is the command of TestFlakeyDiskFailsAndHeals.
func useFlakey() error {
	disk, err := Flakey(Disks()[0])
	if err != nil {
		return err
	}
	lvm := func(args ...string) (string, error) {
		out, err := exec.Command("lvm", args...).CombinedOutput()
		return string(out), err
	}
	expect := func(what string, ok bool, out string, err error) error {
		if ok != (err == nil) {
			return fmt.Errorf("%s: %w: %s", what, err, out)
		}
		return nil
	}
	out, err := lvm("vgcreate", "v", disk.Path)
	if err := expect("vgcreate on a healthy disk", true, out, err); err != nil {
		return err
	}
	if out, err := lvm("pvs", "--noheadings", "-o", "pv_name"); err != nil || strings.TrimSpace(out) != disk.Path {
		return fmt.Errorf("lvm sees %q, want only %s: %w", out, disk.Path, err)
	}
	for _, f := range []Fault{FailWrites, FailAll} {
		if err := disk.Set(f); err != nil {
			return err
		}
		out, err := lvm("lvcreate", "-y", "-n", "bad", "-L", "4m", "v")
		if err := expect(fmt.Sprintf("lvcreate on a disk with %q", f), false, out, err); err != nil {
			return err
		}
	}
	if err := disk.Set(Healthy); err != nil {
		return err
	}
	out, err = lvm("lvcreate", "-y", "-n", "good", "-L", "4m", "v")
	if err := expect("lvcreate on a healed disk", true, out, err); err != nil {
		return err
	}
	out, err = lvm("vgchange", "-an", "v")
	if err := expect("vgchange", true, out, err); err != nil {
		return err
	}
	if err := disk.Remove(); err != nil {
		return err
	}
	if out, err := lvm("pvs", "--noheadings", "-o", "pv_name"); err != nil || strings.TrimSpace(out) != Disks()[0] {
		return fmt.Errorf("lvm sees %q, want only %s: %w", out, Disks()[0], err)
	}
	return nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
