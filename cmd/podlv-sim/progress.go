// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/podlv/podlv/sim"
)

// plainPeriod is how often counts are told where there is no terminal.
const plainPeriod = 5 * time.Second

// progress tells a person what is done: lines, and on a terminal a bar that is drawn
// over.
type progress struct {
	start time.Time
	width int // of the terminal; 0: there is none

	mu    sync.Mutex
	out   io.Writer
	drawn bool // a bar is on the current line
	told  time.Time
	last  sim.Counts
}

func newProgress(out io.Writer) *progress {
	p := &progress{start: time.Now(), out: out, told: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			p.width = width
		}
	}
	return p
}

// say writes a line.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.out, "[%5.1fs] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// count draws the bar, or writes a line now and then.
func (p *progress) count(c sim.Counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := time.Since(p.told).Seconds()
	text := fmt.Sprintf("%d of %d pods run, %d are bound, %d made", c.Running, c.Pods, c.Bound, c.Made)
	if p.width == 0 {
		if since < plainPeriod.Seconds() || c == p.last {
			return
		}
		rate := float64(c.Running-p.last.Running) / since
		fmt.Fprintf(p.out, "[%5.1fs] %s; %.0f/s\n", time.Since(p.start).Seconds(), text, rate)
		p.told, p.last = time.Now(), c
		return
	}
	const bar = 30
	full := 0
	if c.Pods > 0 {
		full = bar * c.Running / c.Pods
	}
	line := fmt.Sprintf("[%s%s] %s", strings.Repeat("#", full), strings.Repeat(".", bar-full), text)
	p.clear()
	fmt.Fprint(p.out, line[:min(len(line), p.width-1)])
	p.drawn = true
}

// end ends the bar.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

// clear takes the bar off its line.
func (p *progress) clear() {
	if p.drawn {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", p.width-1))
		p.drawn = false
	}
}
