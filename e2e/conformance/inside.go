// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/conformance/cases"
	"github.com/podlv/podlv/e2e/conformance/record"
	"github.com/podlv/podlv/e2e/lab"
)

// limit is for everything after the build. On an idle machine it takes 4 minutes.
const limit = 15 * time.Minute

// inside starts the cluster, runs the cases and writes the recording.
func inside(ctx context.Context, plan, out string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	note := noteSince(time.Now())
	note("starting a control plane, and a node: a kubelet in a machine of its own")
	c, err := lab.Start(ctx, plan)
	if c != nil {
		defer c.Close()
	}
	if err != nil {
		return err
	}
	n := c.Nodes()[0]
	t := &target{Cluster: c.Cluster, node: n, calls: tail{file: filepath.Join(n.Logs(), "calls.jsonl")}}
	if err := t.begin(ctx); err != nil {
		return err
	}
	note("kubelet knows the driver")
	recording, err := cases.Run(ctx, t, note)
	text, e := json.MarshalIndent(recording, "", " ")
	if e == nil {
		e = os.WriteFile(out, text, 0o644)
	}
	if err = errors.Join(err, e); err != nil {
		return err
	}
	note("OK: %d calls are in %s", len(recording.Calls), out)
	return nil
}

// noteSince prints a step with the time since start.
func noteSince(start time.Time) func(format string, args ...any) {
	return func(format string, args ...any) {
		fmt.Printf("[%5.1fs] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// target is the node. It is the driver on it, too, as cases see that.
type target struct {
	*cluster.Cluster
	node *cluster.Node

	mu    sync.Mutex
	calls tail
}

var _ cases.Target = &target{}

// begin installs what there must be, and waits until kubelet knows the driver.
func (t *target) begin(ctx context.Context) error {
	if err := cases.Install(ctx, t.Client()); err != nil {
		return err
	}
	if err := t.startRecorder(ctx); err != nil {
		return err
	}
	if err := t.remote().Start(ctx); err != nil {
		return err
	}
	if err := t.node.WaitReady(ctx, time.Time{}); err != nil {
		return err
	}
	return t.WaitDriver(ctx, cases.Node, cases.Driver)
}

func (t *target) Client() kubernetes.Interface           { return t.Cluster.Client }
func (t *target) Driver() cases.Recorder                 { return onNode{t.remote(), t} }
func (t *target) StopKubelet(ctx context.Context) error  { return t.node.StopKubelet(ctx) }
func (t *target) StartKubelet(ctx context.Context) error { return t.node.StartKubelet(ctx) }

func (t *target) remote() record.Remote {
	return record.Remote{Address: t.node.IP() + ":" + recorderPort}
}

// onNode is the driver on the node. It is asked for its calls through the file: the
// node's one processor has other things to do.
type onNode struct {
	record.Remote
	t *target
}

func (r onNode) Calls(context.Context) ([]record.Call, error) {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	calls, err := r.t.calls.all()
	return slices.Clone(calls), err
}

// startRecorder starts the driver's process on the node, and waits until it listens.
func (t *target) startRecorder(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	script := fmt.Sprintf("setsid %s %s %s:%s %s >>%s/recorder.log 2>&1 &", self, recorderCommand, t.node.IP(), recorderPort, t.calls.file, t.node.Logs())
	if _, err := t.node.Run(ctx, "sh", "-c", script); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err = t.remote().Mark(ctx, "the recorder is there"); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the recorder does not answer: %w", err)
}

// Reboot implements cases.Target.
func (t *target) Reboot(ctx context.Context, meanwhile func()) error {
	if _, err := t.node.Run(ctx, "sync"); err != nil {
		return err
	}
	t.node.Kill()
	meanwhile()
	if err := t.node.Boot(); err != nil {
		return err
	}
	return t.startRecorder(ctx)
}
