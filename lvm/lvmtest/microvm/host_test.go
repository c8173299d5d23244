// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMissingNamesThePackages(t *testing.T) {
	require.NoError(t, missing(func(string) error { return nil }))
	err := missing(func(string) error { return os.ErrNotExist })
	require.EqualError(t, err, "no linux.uml, no /usr/lib/uml/modules, no lvm, no dmsetup here: apt-get install user-mode-linux lvm2 dmsetup")
	err = missing(func(name string) error {
		if name == "lvm" {
			return os.ErrNotExist
		}
		return nil
	})
	require.EqualError(t, err, "no lvm here: apt-get install lvm2")
}

func TestConfigRefusesWhatCannotBeSaid(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "d")
	require.NoError(t, os.WriteFile(disk, nil, 0o600))
	for want, cfg := range map[string]Config{
		"no command":        {},
		"no such file":      {Command: []string{"true"}, Disks: []string{filepath.Join(dir, "none")}},
		"at most 15":        {Command: []string{"true"}, Disks: make([]string, 16)},
		"kernel's command":  {Command: []string{"true"}, Share: dir + "/with blank"},
		"memory: size":      {Command: []string{"true"}, Memory: "lots"},
		"remount,size":      {Command: []string{"true"}, Memory: "1000T"},
		"commas and colons": {Command: []string{"true"}, Disks: []string{disk}, Share: dir + "/a,b"},
	} {
		require.ErrorContains(t, cfg.complete(), want)
	}
	require.NoError(t, (&Config{Command: []string{"true"}, Disks: []string{disk}}).complete())
}

func TestModulesDepIsReadAsModprobeReadsIt(t *testing.T) {
	got, err := parseModulesDep(strings.NewReader("kernel/md/dm-mod.ko:\nkernel/md/dm_thin.ko: kernel/md/dm-bufio.ko kernel/md/dm-mod.ko\n"))
	require.NoError(t, err)
	require.Equal(t, map[string][]string{
		"dm-mod":  {"kernel/md/dm-mod.ko"},
		"dm-thin": {"kernel/md/dm_thin.ko", "kernel/md/dm-bufio.ko", "kernel/md/dm-mod.ko"},
	}, got)
}

func TestFolderForDisksIsInMemoryOnlyWhenThereIsRoom(t *testing.T) {
	small, err := MakeFolder("x", 1)
	require.NoError(t, err)
	defer os.RemoveAll(small)
	big, err := MakeFolder("x", 1<<60)
	require.NoError(t, err)
	defer os.RemoveAll(big)
	require.False(t, strings.HasPrefix(big, memoryFolder))
	if s, err := os.Stat(memoryFolder); err != nil || !s.IsDir() {
		t.Skip("no " + memoryFolder)
	}
	require.True(t, strings.HasPrefix(small, memoryFolder))
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{"1": 1, "64k": 64 << 10, "512M": 512 << 20, "2G": 2 << 30, "1T": 1 << 40} {
		got, err := ParseSize(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "G", "-1", "0", "0x10", "1.5G", "9999999999T", "1GiB"} {
		_, err := ParseSize(in)
		require.Error(t, err, in)
	}
}

func TestLaterVariablesWin(t *testing.T) {
	s := spec{Env: []string{"PATH=/host", "A=1", "PATH=/tests", "TMPDIR=/elsewhere"}, Share: "/share", Boot: 2, Disks: []string{"/dev/ubdb", "/dev/ubdc"}}
	env := s.environment()
	require.Contains(t, env, "PATH=/tests")
	require.NotContains(t, env, "PATH=/host")
	require.Contains(t, env, "A=1")
	require.Contains(t, env, "TMPDIR=/tmp")
	require.Contains(t, env, "PODLV_MICROVM_BOOT=2")
	require.Contains(t, env, "PODLV_MICROVM_DISKS=/dev/ubdb,/dev/ubdc")
}

func TestHandlersAreReadFromProcessStatus(t *testing.T) {
	const kernels = "SigBlk:\t0000000000001000\nSigIgn:\t0000000000000001\nSigCgt:\t00000000180066da\nCapInh:\t0\n"
	require.True(t, catches(kernels, syscall.SIGALRM))
	require.False(t, catches(kernels, syscall.SIGTERM+1)) // SIGSTKFLT
	require.False(t, catches("SigBlk:\t0\nSigCgt:\t0000000000000000\n", syscall.SIGALRM))
	require.False(t, catches("", syscall.SIGALRM))
}
