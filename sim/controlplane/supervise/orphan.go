// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Orphaned waits until the process that started this one is gone, and returns how
// it knows; nil when ctx ends before.
//
// stdin tells when it is a pipe or a socket: the kernel closes the other end with
// the last process that holds it, however that ends. What is in it is read and
// dropped. Of any other stdin (a terminal, /dev/null) nothing is read. The parent's
// process id, which changes when another process adopts this one, is looked at every
// interval; PR_SET_PDEATHSIG would tell at once, but of the thread that forked, which
// a Go program may end while it lives (https://go.dev/issue/27505).
func Orphaned(ctx context.Context, stdin *os.File, parent func() int, interval time.Duration) error {
	closed := make(chan error, 1)
	if info, err := stdin.Stat(); err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		go func() {
			_, err := io.Copy(io.Discard, stdin)
			if err == nil {
				err = io.EOF
			}
			closed <- err
		}()
	}
	first := parent()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-closed:
			if errors.Is(err, io.EOF) {
				return errors.New("stdin was closed")
			}
			return fmt.Errorf("read stdin: %w", err)
		case <-tick.C:
			if now := parent(); now != first {
				return fmt.Errorf("the parent, process %d, is gone", first)
			}
		}
	}
}
