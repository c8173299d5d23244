// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sigs.k8s.io/kind/pkg/cluster/nodes"

	"github.com/podlv/podlv/e2e/kind"
	"github.com/podlv/podlv/fakelvm"
)

// mirror is a picture of a node's fake machine, for the oracle: as it was some
// milliseconds ago.
type mirror struct {
	mu    sync.Mutex
	host  *fakelvm.Host
	steps int
	first chan struct{} // closed when there is a picture
}

func newMirror() *mirror { return &mirror{first: make(chan struct{})} }

// Setup implements oracle.Machine.
func (m *mirror) Setup(args ...string) (stdout, stderr string, code int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.host == nil {
		return "", "there is no picture of the disks yet", 1
	}
	return m.host.Setup(args...)
}

// Steps implements oracle.Machine.
func (m *mirror) Steps() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.steps
}

// ready waits until there is a picture.
func (m *mirror) ready(ctx context.Context) error {
	select {
	case <-m.first:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nothing tells what is on its disks: %w", context.Cause(ctx))
	}
}

// show takes up pictures, a line each, until there are no more.
func (m *mirror) show(from io.Reader) error {
	lines := bufio.NewReaderSize(from, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // half a line is no picture
		}
		if err != nil {
			return err
		}
		host, err := fakelvm.Load(line)
		if err != nil {
			return fmt.Errorf("state of a node's disks: %w", err)
		}
		m.mu.Lock()
		if m.host == nil {
			close(m.first)
		}
		m.host = host
		m.steps++
		m.mu.Unlock()
	}
}

// Whoever watches a node is started again so often, with so much time between.
const (
	followTries = 5
	followPause = 500 * time.Millisecond
)

// follow keeps the picture of a node until the cluster ends, or nobody tells any more.
func (k *cluster) follow(n nodes.Node, m *mirror) {
	var err error
	for range followTries {
		read, write := io.Pipe()
		shown := make(chan error, 1)
		go func() { shown <- m.show(read) }()
		err = n.CommandContext(k.ctx, "fakelvm", "fakelvm", "watch").SetStdout(write).Run()
		_ = write.Close() // it cannot fail
		err = errors.Join(err, <-shown)
		select {
		case <-k.ctx.Done():
			return
		case <-time.After(followPause): // a Ctrl-C may have ended it, too
		}
	}
	k.fail(fmt.Errorf("node %s does not tell any more what is on its disks: %w", n, kind.Explain(err)))
}
