// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/lab"
)

// How the tests are run.
var (
	out    = flag.String("out", "", "`folder` for logs and what explains failures (default: out/e2e-vm or out/e2e-kind)")
	onKind = flag.Bool("kind", false, "run on a cluster of kind with fake LVM, in the place of microVMs")
	count  = flag.Int("nodes", nodes, "`number` of nodes; for benchmarks fewer, because one that does nothing takes of the machine, too")
)

// the is the cluster of all tests.
var the *lab.Lab

const gib = int64(1) << 30

// nodes is how many there are for tests. Each has a VG with 3 GiB for thick volumes, two
// thin pools, and a spare disk.
const nodes = 3

func TestMain(m *testing.M) {
	if lab.Guest(os.Args) {
		os.Exit(1)
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := 1, error(nil)
	if os.Getenv(lab.Plan) != "" {
		code, err = inside(ctx, m)
	} else {
		code, err = outside(ctx)
	}
	stop()
	if err != nil {
		fmt.Println("FAILED:", err)
		code = 1
	}
	os.Exit(code)
}

func outside(ctx context.Context) (int, error) {
	values, err := filepath.Abs("values.yaml")
	if err != nil {
		return 1, err
	}
	folder := *out
	var ofKind *cluster.Kind
	if *onKind {
		ofKind = &cluster.Kind{NodeImage: os.Getenv("KIND_NODE_IMAGE"), Engine: os.Getenv("KIND_EXPERIMENTAL_PROVIDER")}
	}
	if folder == "" {
		folder = filepath.Join("..", "..", "out", map[bool]string{false: "e2e-vm", true: "e2e-kind"}[*onKind])
	}
	return lab.Run(ctx, lab.Config{
		Name: "podlv-e2e", Cache: os.Getenv("PODLV_CACHE"), Nodes: *count, Memory: "4G", LVMDisks: []int64{3*gib + 4<<20, 2 * gib, spareSize}, Room: uint64(12 * gib), Values: values, Out: folder, Kind: ofKind,
		// An agent that is killed comes back at once, however often: kubelet would wait up to
		// five minutes.
		// A hundred containers that start at once on the only processor of a microVM take longer
		// than kubelet's two minutes each: it would give up all of them, and begin again. Much
		// more is no better: what containerd never answers is asked for again only then.
		Kubelet: map[string]any{
			"crashLoopBackOff":      map[string]any{"maxContainerRestartPeriod": "2s"},
			"runtimeRequestTimeout": "5m",
		},
	})
}

func inside(ctx context.Context, m *testing.M) (code int, err error) {
	the, err = lab.Start(ctx, os.Getenv(lab.Plan))
	if the != nil {
		defer the.Close()
	}
	if err != nil {
		return 1, err
	}
	if err := setUp(ctx); err != nil {
		the.KeepEvidence("set-up")
		return 1, err
	}
	ended := make(chan int, 1)
	go func() { ended <- m.Run() }()
	select {
	case code := <-ended:
		return code, nil
	case <-ctx.Done(): // a test cannot be told: it goes with this process
		return 1, errors.New("interrupted")
	}
}

// setUp makes the VGs, as an administrator does, and installs podlv.
func setUp(ctx context.Context) error {
	for _, n := range the.Nodes() {
		for _, c := range [][]string{
			{"vgcreate", "--quiet", "ssd", n.LVMDisks()[0]},
			{"vgcreate", "--quiet", "thin", n.LVMDisks()[1]},
			{"lvcreate", "--quiet", "--yes", "--type", "thin-pool", "--size", "1500m", "--poolmetadatasize", "8m", "--name", "pool", "thin"},
			strings.Fields(makeSmall),
		} {
			if _, err := n.Run(ctx, c...); err != nil {
				return err
			}
		}
	}
	var more []string
	if flag.Lookup("test.bench").Value.String() != "" { // its usual interval: each of its passes costs a report
		more = []string{"--set=agent.reaper.interval=5m,agent.reaper.minAge=10m"}
	}
	return the.Install(ctx, more...)
}
