// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script makes a program that stands in for the control plane.
func script(t *testing.T, text string) Config {
	t.Helper()
	program := filepath.Join(t.TempDir(), Program)
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"+text), 0o755))
	return Config{Program: program, Dir: t.TempDir()}
}

func TestStartWaitsForTheLineAndStopEndsTheProgram(t *testing.T) {
	cfg := script(t, "echo noise; echo ready KUBECONFIG=/k; exec cat >/dev/null\n")
	p, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, "/k", p.Kubeconfig)
	select {
	case <-p.Ended():
		t.Fatal("it ended")
	default:
	}
	// cat does not handle SIGTERM, so that is its end, and not the one of a control plane.
	require.ErrorContains(t, p.Stop(), "signal: terminated")
	<-p.Ended()
	require.Error(t, p.Stop())
}

func TestStdinIsOpenUntilStop(t *testing.T) {
	cfg := script(t, "trap '' TERM; echo ready KUBECONFIG=/k; cat >/dev/null; exit 0\n")
	p, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, p.Stop())
	require.NoError(t, p.Stop())
}

func TestAProgramThatEndsSaysWhy(t *testing.T) {
	_, err := Start(t.Context(), script(t, "echo etcd: disk full >&2; exit 1\n"))
	require.ErrorContains(t, err, "exit status 1")
	require.ErrorContains(t, err, "etcd: disk full")

	cfg := script(t, "exit 0\n")
	_, err = Start(t.Context(), cfg)
	require.ErrorContains(t, err, "the control plane ended (status 0): its logs are in "+filepath.Join(cfg.Dir, "logs"))

	p, err := Start(t.Context(), script(t, "echo ready KUBECONFIG=/k; sleep 0.3; echo etcd: gone >&2; exit 1\n"))
	require.NoError(t, err)
	<-p.Ended()
	require.ErrorContains(t, p.Stop(), "etcd: gone")

	_, err = Start(t.Context(), Config{Program: filepath.Join(t.TempDir(), "none"), Dir: "."})
	require.ErrorContains(t, err, "start the control plane: ")
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("nobody wants it any more")
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	_, err := Start(ctx, script(t, "trap 'exit 0' TERM; cat >/dev/null; exit 0\n"))
	require.ErrorIs(t, err, why)
}

func TestFlags(t *testing.T) {
	require.Equal(t, []string{"--dir=/d", "--verbosity=0"}, Config{Dir: "/d"}.args())
	require.Equal(t, []string{
		"--dir=/d", "--verbosity=2", "--feature-gates=A=false,B=true", "--scheduler-config=/s", "--node-monitor-grace-period=5s",
	}, Config{
		Dir: "/d", Verbosity: 2, FeatureGates: map[string]bool{"B": true, "A": false}, SchedulerConfig: "/s", NodeMonitorGracePeriod: 5 * time.Second,
	}.args())
}

func TestFind(t *testing.T) {
	make := func(dir string) string {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		path := filepath.Join(dir, Program)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
		return path
	}
	path, home, cache := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("PATH", path)
	t.Setenv("HOME", home)

	_, err := Find(cache)
	require.ErrorContains(t, err, "make controlplane")
	require.ErrorContains(t, err, filepath.Join(cache, "bin"))

	inHome := make(filepath.Join(home, ".cache", "podlv", "bin"))
	got, err := Find("")
	require.NoError(t, err)
	require.Equal(t, inHome, got)
	_, err = Find(cache)
	require.Error(t, err, "a cache that was given is the only one")

	inCache := make(filepath.Join(cache, "bin"))
	got, err = Find(cache)
	require.NoError(t, err)
	require.Equal(t, inCache, got)

	onPath := make(path)
	got, err = Find(cache)
	require.NoError(t, err)
	require.Equal(t, onPath, got)

	self, err := os.Executable()
	require.NoError(t, err)
	beside := make(filepath.Dir(self))
	defer os.Remove(beside)
	got, err = Find(cache)
	require.NoError(t, err)
	require.Equal(t, beside, got)
}

func TestTailKeepsTheEnd(t *testing.T) {
	var end tail
	require.Equal(t, "nothing", end.text("nothing"))
	for range 3 {
		_, err := end.Write([]byte(strings.Repeat("x", tailSize-1) + "y"))
		require.NoError(t, err)
	}
	text := end.text("")
	require.Less(t, len(text), tailSize+8)
	require.True(t, strings.HasPrefix(text, "…") && strings.HasSuffix(text, "y"))
}
