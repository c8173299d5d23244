// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/sim/fakemount"
)

func newMachine(t *testing.T) (*machine, *fakelvm.Host) {
	t.Helper()
	h := fakelvm.New(fakelvm.Disk{Path: "/dev/fake0", Size: 1 << 30})
	require.NoError(t, h.CreateVG("vg0", "/dev/fake0"))
	return &machine{Fake: fakemount.Fake{Host: h}, host: h, dead: make(chan struct{})}, h
}

// A killed process does nothing more; the lvm command that it has begun goes on.
func TestADeadProcessTouchesNothing(t *testing.T) {
	m, h := newMachine(t)
	release := h.Hang("lvcreate")
	begun := make(chan error)
	go func() {
		_, err := m.Run(context.Background(), "lvcreate", "--yes", "--name", "begun", "--size", "4m", "vg0")
		begun <- err
	}()
	require.Eventually(t, func() bool { return h.Hanging() == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, h.MkdirAll("/a"))
	require.NoError(t, m.MakeTarget("/a/b"), "it lives")
	close(m.dead)
	require.ErrorIs(t, <-begun, errDead)
	release()
	require.Eventually(t, func() bool { return h.DeviceExists("/dev/vg0/begun") }, 10*time.Second, time.Millisecond)

	_, err := m.Run(t.Context(), "lvremove", "--yes", "vg0/begun")
	require.ErrorIs(t, err, errDead)
	for what, do := range map[string]func() error{
		"Mount":          func() error { return m.Mount("/dev/vg0/begun", "/a/b", "ext4", nil) },
		"Unmount":        func() error { return m.Unmount("/a/b") },
		"MakeTarget":     func() error { return m.MakeTarget("/a/c") },
		"MakeTargetFile": func() error { return m.MakeTargetFile("/a/d") },
		"RemoveTarget":   func() error { return m.RemoveTarget("/a/b") },
		"Wipe":           func() error { return m.Wipe("/dev/vg0/begun") },
		"Grow":           func() error { return m.Grow("/dev/vg0/begun", "/a", "ext4") },
		"Zero":           func() error { return m.Zero(t.Context(), "/dev/vg0/begun", 0, 4096) },
	} {
		require.ErrorIs(t, do(), errDead, what)
	}
	require.True(t, h.DeviceExists("/dev/vg0/begun"))
	require.True(t, h.IsDir("/a/b"))
	require.Empty(t, h.Mounts())
}

// kubelet's connections end when the agent dies, and no new ones are made to it.
func TestADeadAgentIsNotReached(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	server, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer server.Close()
	m, _ := newMachine(t)
	n, a := &Node{}, &agent{machine: *m}
	n.agent.Store(a)
	conn, err := n.dial(t.Context(), socket)
	require.NoError(t, err)
	a.cut()
	_, err = conn.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = n.dial(t.Context(), socket)
	require.ErrorContains(t, err, "connection refused")
	n.agent.Store(nil)
	_, err = n.dial(t.Context(), socket)
	require.ErrorContains(t, err, "connection refused")
}
