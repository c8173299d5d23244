// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A loop device of kubelet's that is there when the power is cut is there for ever: the
// kernel forgets what its file was called.
func TestKubeletsDevicesAreFreedBeforeThePowerIsCut(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	docker(t, `echo "$@" >>`+log)
	f := &fakeEngine{}
	require.NoError(t, Kill(t.Context(), fakeNode{name: "a", f: f}))
	require.Len(t, f.scripts, 1)
	ends, frees := strings.Index(f.scripts[0], "systemctl disable --now kubelet"), strings.Index(f.scripts[0], "losetup -d")
	require.Positive(t, ends, "it could make another one")
	require.Greater(t, frees, ends)
	did, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, "inspect a\nkill a\n", string(did))
}

func TestANodeIsAsAfterABootBeforeKubeletStarts(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	docker(t, `echo "$@" >>`+log)
	f := &fakeEngine{}
	require.NoError(t, Boot(t.Context(), fakeNode{name: "a", f: f}, "prepare it"))
	did, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, "inspect a\nstart a\n", string(did))
	boot := f.scripts[len(f.scripts)-1]
	require.True(t, strings.HasSuffix(boot, "fakelvm fakelvm reboot\nprepare it\nsystemctl enable --now kubelet\n"), boot)
}

func TestAnEngineThatDoesNotKnowTheNodeIsSaidSo(t *testing.T) {
	docker(t, "exit 1")
	err := Boot(t.Context(), fakeNode{name: "a", f: &fakeEngine{}}, "")
	require.ErrorContains(t, err, "start node a: no container engine knows it")
}

// A test says lvs, and the program must know that it was called so.
func TestTheFakeIsThereUnderLVMsNames(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	require.NoError(t, os.WriteFile(program, []byte("a program"), 0o755))
	lvm := FakeLVM{Program: program, Dir: "/var/lib/x"}
	f := &fakeEngine{}
	require.NoError(t, lvm.Put(t.Context(), fakeNode{name: "a", f: f}))
	all := strings.Join(f.scripts, "\n")
	require.Contains(t, all, "<a program")
	require.Contains(t, all, "export FAKELVM_DIR=/var/lib/x FAKELVM_BACKING=loop\nexec "+fakeFolder+`/"${0##*/}" "$@"`)
	require.Contains(t, all, " lvs ")
	require.Contains(t, all, "mknod -m 660 /dev/loop$i")
}
