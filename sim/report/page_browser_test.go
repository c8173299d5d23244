// SPDX-License-Identifier: Apache-2.0

//go:build page

package report

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/sim/trace"
)

// Where pictures of the pages go, for a person to look at.
var pictures = flag.String("pictures", "", "folder for screenshots; none are made without")

// How a browser is used by the person who reads a page.
type reader struct {
	dark          bool
	width, height int64
}

// browser opens pages and keeps what they complain of and what they load.
type browser struct {
	*testing.T
	ctx      context.Context
	mu       sync.Mutex
	wrong    []string
	requests []string
}

// open opens the page of a report in a browser, and waits until it is drawn.
func open(t *testing.T, r *Report, how reader) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: the page is tested in chromium, of tools/packages.txt: make deps installs it", err)
	}
	name := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(name)
	require.NoError(t, err)
	require.NoError(t, r.Page(f))
	require.NoError(t, f.Close())
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox) // it opens nothing but our file
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &browser{T: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.wrong = append(b.wrong, fmt.Sprintf("%s: %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
		case *runtime.EventConsoleAPICalled:
			b.wrong = append(b.wrong, fmt.Sprintf("console.%s: %v", e.Type, e.Args))
		case *log.EventEntryAdded:
			b.wrong = append(b.wrong, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, e.Request.URL)
		}
	}))
	scheme := "light"
	if how.dark {
		scheme = "dark"
	}
	if how.width == 0 {
		how.width, how.height = 1280, 900
	}
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	require.NoError(t, err)
	start := time.Now()
	b.do(chromedp.EmulateViewport(how.width, how.height), chromedp.Navigate("file://"+name), chromedp.Poll[chromedp.Void](`document.documentElement.dataset.ready === "yes"`))
	t.Logf("%s is drawn after %s", r.Scenario, time.Since(start).Round(time.Millisecond))
	return b
}

// do does something in the page.
func (b *browser) do(all ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	require.NoError(b, chromedp.Do(b.ctx, all...))
}

// js is the value of an expression.
func js[T any](b *browser, expression string) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b, err)
	return value
}

// set enters a value as a person does.
func (b *browser) set(selector, value string) {
	b.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`{ const e = document.querySelector(%q); e.value = %q; e.dispatchEvent(new Event("input")); e.dispatchEvent(new Event("change")); }`, selector, value)))
}

// text is the text of an element.
func (b *browser) text(selector string) string {
	b.Helper()
	return js[string](b, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

func (b *browser) picture(name string) {
	b.Helper()
	if *pictures == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(filepath.Join(*pictures, name+".png"), png, 0o600))
}

// view is a picture of what is in the window.
func (b *browser) view(name string) {
	b.Helper()
	if *pictures == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(filepath.Join(*pictures, name+".png"), png, 0o600))
}

// quiet checks that the page complained of nothing and loaded only itself.
func (b *browser) quiet() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b, b.wrong)
	for _, r := range b.requests {
		u, err := url.Parse(r)
		require.NoError(b, err)
		require.True(b, u.Scheme == "data" || u.Scheme == "file" && filepath.Base(u.Path) == "report.html", "the page loads %s", r)
	}
	require.NotEmpty(b, b.requests, "requests are seen at all")
}

// real is the report of a run of stale-capacity.
func realReport(t *testing.T) *Report {
	t.Helper()
	text, err := os.ReadFile("testdata/stale-capacity.json")
	require.NoError(t, err)
	r := &Report{}
	require.NoError(t, json.Unmarshal(text, r))
	r.Trace, err = trace.ReadFile("testdata/stale-capacity-trace.json.gz")
	require.NoError(t, err)
	return r
}

const gib = 1 << 30

// large is a report of so many nodes and pods.
func large(nodes, pods int) *Report {
	x := &trace.Trace{Version: 1, Scenario: "large", End: 120_000, Marks: []trace.Mark{{At: 60_000, Text: "node-7 loses its power"}}}
	for n := range nodes {
		p := trace.Pool{Name: "ssd", Capacity: map[string][]int64{"ssd": nil}}
		for i := range int64(40) {
			used := min(i*int64(n%97)/40, 97) * gib
			p.At = append(p.At, 5000+i*2500+int64(n%50)*20)
			p.Total, p.Inline, p.Allocatable = append(p.Total, 100*gib), append(p.Inline, used), append(p.Allocatable, 100*gib)
			p.Capacity["ssd"] = append(p.Capacity["ssd"], 100*gib-used)
		}
		x.Nodes = append(x.Nodes, trace.Node{Name: fmt.Sprintf("node-%d", n), Pools: []trace.Pool{p}})
	}
	r := &Report{Scenario: "large", Description: "Many nodes.", Trace: x, Phases: []Phase{{"control plane", 5}, {"pods", 100}, {"removal", 14}}}
	r.Metrics = Metrics{Nodes: nodes, Pods: pods, PodsRunning: pods}
	r.Expectations = []Result{r.Evaluate("metrics.podsRunning == metrics.pods", "every pod runs")}
	c := &x.Cluster
	for i := range int64(500) {
		c.At = append(c.At, 5000+i*200)
		made := int64(pods) * (i + 1) / 500
		c.Made, c.Waiting, c.Starting, c.Running, c.Ended = append(c.Made, made), append(c.Waiting, made/10), append(c.Starting, made/50), append(c.Running, made-made/10-made/50), append(c.Ended, 0)
	}
	for i := range pods {
		at := 5000 + int64(i)*100_000/int64(pods)
		node := fmt.Sprintf("node-%d", i%nodes)
		p := trace.Pod{Namespace: "default", Name: fmt.Sprintf("build-%d", i), UID: fmt.Sprintf("9b6ae5d4-2f2b-4f4e-8d4e-%012d", i), Workload: "build", Node: node, State: trace.Ran}
		p.Steps = []trace.Step{{At: at, What: trace.Made}}
		if i%5 == 0 {
			p.Steps = append(p.Steps, trace.Step{At: at + 20, What: trace.Unplaced, Text: fmt.Sprintf("0/%d nodes are available: %d Insufficient podlv.dev/ssd. preemption: 0/%d nodes are available: %d No preemption victims found for incoming pod.", nodes, nodes-i%7, nodes, nodes)})
		}
		p.Steps = append(
			p.Steps, trace.Step{At: at + 100, What: trace.Bound, Node: node},
			trace.Step{At: at + 140, What: trace.Called, Node: node, Method: "NodePublishVolume", Volume: fmt.Sprintf("csi-%064x", i), Code: "OK", Took: 3.5},
			trace.Step{At: at + 150, What: trace.Running}, trace.Step{At: 119_000, What: trace.Ended}, trace.Step{At: 119_500, What: trace.Removed},
		)
		x.Pods = append(x.Pods, p)
	}
	return r
}

func TestPageOfASmallRun(t *testing.T) {
	r := realReport(t)
	b := open(t, r, reader{})
	require.Equal(t, "stale-capacity · podlv-sim", js[string](b, "document.title"))
	require.Equal(t, "Every expectation held", b.text("#verdict"))
	require.Contains(t, b.text("#description"), "behind podlv's back")
	rows := js[[]string](b, `[...document.querySelectorAll("#expectations tbody tr")].map(r => r.innerText)`)
	require.Len(t, rows, len(r.Expectations))
	require.Contains(t, rows[0], "metrics.podsRunning == 60")
	require.Contains(t, rows[0], "podsRunning = 60", "the figure that it was judged by")
	require.Contains(t, b.text("#figures"), "60 of 60")
	require.Contains(t, b.text("#reason-lists"), "CreateVolume: ResourceExhausted")
	require.Contains(t, b.text("#marks"), "2.0 s: lvcreate on node-1")
	require.Equal(t, 2, js[int](b, `document.querySelectorAll("#pods-chart canvas, #failures-chart canvas").length`))
	b.picture("small")

	// A click on the second row of the heat map.
	b.do(chromedp.ScrollIntoView(chromedp.CSS("#heat-map")))
	b.do(chromedp.MouseClickXY(js[float64](b, `document.querySelector("#heat-map").getBoundingClientRect().left + 300`), js[float64](b, `document.querySelector("#heat-map").getBoundingClientRect().top + 27`)))
	require.Equal(t, "node-1", b.text("#node-name"))
	require.Equal(t, 1, js[int](b, `document.querySelectorAll("#node-chart canvas").length`))
	placed := 0
	for _, p := range r.Trace.Pods {
		if p.Node == "node-1" {
			placed++
		}
	}
	require.Contains(t, b.text("#node-pods"), fmt.Sprintf("%d pods placed here: %d of claim.", placed, placed))
	require.Contains(t, b.text("#node-chart"), "somebody else’s")
	b.picture("node")

	// By keyboard: the third.
	b.do(chromedp.Focus(chromedp.CSS("#heat-map")), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	require.Equal(t, "node-2", b.text("#node-name"))

	// The first of the pods whose claims were given back.
	b.set("#pod-state", "trouble")
	require.Equal(t, "5 of 60 pods", b.text("#pod-count"))
	name := b.text("#pod-table tbody button")
	b.do(chromedp.Click(chromedp.CSS("#pod-table tbody button")))
	require.Equal(t, "default/"+name, b.text("#pod-name"))
	steps := b.text("#pod-steps")
	for _, want := range []string{"given back", "cannot be made on node-", "ProvisioningFailed: ", "ResourceExhausted", "NodePublishVolume", "volume made", "claim " + name + "-v0, 1 GiB"} {
		require.Contains(t, steps, want)
	}
	b.view("pod")
	b.do(chromedp.KeyEvent(kb.Escape))
	require.False(t, js[bool](b, `document.querySelector("#pod").open`))
	b.quiet()
}

func TestPageOfAThousandNodes(t *testing.T) {
	r := large(1000, 10_000)
	var size countWriter
	require.NoError(t, r.Page(&size))
	t.Logf("%d bytes", size)
	require.Less(t, int(size), 8<<20)
	b := open(t, r, reader{})
	require.Equal(t, "1,000 nodes", b.text("#node-count"))
	require.Equal(t, "10,000 pods", b.text("#pod-count"))
	b.picture("large")
	b.do(chromedp.SendKeys(chromedp.CSS("#node-filter"), "node-77"))
	require.Equal(t, "11 of 1,000 nodes", b.text("#node-count"), "node-77 and node-770 to node-779")
	b.do(chromedp.Click(chromedp.CSS("#node-table-box summary")), chromedp.WaitVisible(chromedp.CSS("#node-table tbody button")))
	require.Equal(t, []string{"node-77", "node-770", "node-771"}, js[[]string](b, `[...document.querySelectorAll("#node-table tbody button")].slice(0, 3).map(x => x.textContent)`))
	b.do(chromedp.Click(chromedp.CSS("#node-table tbody tr:nth-child(3) button")))
	require.Equal(t, "node-771", b.text("#node-name"))
	require.Contains(t, b.text("#node-pods"), "10 pods placed here")
	b.do(chromedp.SendKeys(chromedp.CSS("#pod-filter"), "node-771 build-9771"))
	require.Equal(t, "1 of 10,000 pods", b.text("#pod-count"))
	b.set("#pod-filter", "build-9770")
	b.do(chromedp.Click(chromedp.CSS("#pod-table tbody button")))
	require.Contains(t, b.text("#pod-steps"), "Insufficient podlv.dev/ssd", "why no node would do")
	b.do(chromedp.Click(chromedp.CSS("#pod .close")))
	b.set("#node-filter", "")
	b.set("#node-sort", "peak")
	require.Equal(t, "node-96", b.text("#node-table tbody button"), "the fullest comes first")
	b.quiet()
}

// What a reader must see of a run that did not go well, in the dark and on a telephone.
func TestPageOfRunsThatFail(t *testing.T) {
	r := realReport(t)
	r.Expectations[0].Held = false
	r.Expectations[1] = r.Evaluate("workloads.claim.running == 60 && workloads['claim'].pods < 61", "of a workload")
	r.Problems = []string{"node node-0: <script>alert(1)</script> extents 0 to 9 of /dev/a belong to vg0/a and to vg0/b"}
	r.Waiting = []Reason{{"0/3 nodes are available: 3 Insufficient podlv.dev/ssd.", 12}}
	b := open(t, r, reader{dark: true})
	require.Equal(t, "1 of 4 expectations not held", b.text("#verdict"))
	require.Contains(t, b.text("#expectations tbody tr"), "✗ not held")
	require.Contains(t, b.text("#expectations"), "claim: running = 60\nclaim: pods = 60")
	require.Contains(t, b.text("#reason-lists"), "<script>alert(1)</script>", "text is text")
	b.picture("failed-dark")
	b.quiet()

	r = realReport(t)
	r.Interrupted = true
	r.Scenario = "a<b>&amp;"
	b = open(t, r, reader{width: 390, height: 844})
	require.Equal(t, "Interrupted", b.text("#verdict"))
	require.Equal(t, "a<b>&amp;", b.text("#title"))
	require.False(t, js[bool](b, "document.documentElement.scrollWidth > innerWidth"), "it is as wide as the telephone")
	b.picture("interrupted-narrow")
	b.quiet()

	b = open(t, &Report{Scenario: "bare"}, reader{}) // nobody has recorded anything
	require.Contains(t, b.text("#pod-count"), "0 pods")
	b.quiet()
}

type countWriter int

func (w *countWriter) Write(p []byte) (int, error) {
	*w += countWriter(len(p))
	return len(p), nil
}
