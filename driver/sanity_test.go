// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/podlv/podlv/fakelvm"
)

// sanitySkipped lists what csi-sanity skips, and why.
const sanitySkipped = "testdata/sanity-skipped.txt"

// sanitySuites are the runs of csi-sanity: by class, and by how volumes are used.
var sanitySuites = []struct{ name, class, access string }{
	{"thick", "ssd", "mount"},
	{"thin", "thin", "mount"},
	{"raw block", "ssd", "block"},
}

// TestSanity is csi-sanity on a fake machine.
func TestSanity(t *testing.T) {
	n := newSanityNode(t)
	socket := filepath.Join(t.TempDir(), "csi.sock")
	n.serve(socket)
	runSanity(t, socket, sanityFiles{dir: "/sanity", mkdir: n.host.MkdirAll, remove: n.host.Remove, kind: func(p string) (sanity.PathKind, error) {
		switch {
		case n.host.IsDir(p):
			return sanity.PathIsDir, nil
		case n.host.Exists(p):
			return sanity.PathIsFile, nil
		default:
			return sanity.PathIsNotFound, nil
		}
	}}, 10*gib)
	require.Equal(t, []string{"pool"}, n.volumes(), "volumes are left")
	for _, m := range n.host.Mounts() {
		require.Fail(t, "a mount is left", m.Target)
	}
}

// sanityFiles are the files of the agent's machine.
type sanityFiles struct {
	dir           string // to work in
	mkdir, remove func(path string) error
	kind          func(path string) (sanity.PathKind, error)
}

// runSanity is csi-sanity, the CSI project's own suite, against the agent on a
// socket, with volumes of that size. What it skips is exactly what the checked-in
// list says: a test that is skipped from now on, and one that is not any more, fail.
func runSanity(t *testing.T, socket string, files sanityFiles, size int64) {
	t.Helper()
	for _, s := range sanitySuites {
		ginkgo.Describe(s.name, func() {
			c := files.config(s.name, socket, s.class, s.access)
			c.TestVolumeSize, c.TestVolumeExpandSize = size, 2*size
			sanity.GinkgoTest(c)
		})
	}
	skipped := map[string]bool{}
	ran := 0
	ginkgo.ReportAfterEach(func(r ginkgo.SpecReport) {
		switch r.State {
		case types.SpecStateSkipped, types.SpecStatePending:
			skipped[strings.Join(append(slices.Clone(r.ContainerHierarchyTexts), r.LeafNodeText), " / ")] = true
		default:
			ran++
		}
	})
	gomega.RegisterFailHandler(ginkgo.Fail)
	suite, reporter := ginkgo.GinkgoConfiguration()
	suite.Timeout = 10 * time.Minute
	reporter.Succinct, reporter.NoColor = true, true
	require.True(t, ginkgo.RunSpecs(t, "csi-sanity", suite, reporter))
	require.Greater(t, ran, 100)

	listed := map[string]bool{}
	for name, reason := range readSkipped(t) {
		require.NotEmpty(t, reason, "%s: %q has no reason", sanitySkipped, name)
		for _, s := range sanitySuites {
			listed[s.name+" / "+name] = true
		}
	}
	for name := range skipped {
		require.Contains(t, listed, name, "skipped, and not in %s", sanitySkipped)
	}
	for name := range listed {
		require.Contains(t, skipped, name, "in %s, and not skipped", sanitySkipped)
	}
}

// readSkipped reads the list: a test and, after a #, the reason, in every line.
func readSkipped(t *testing.T) map[string]string {
	f, err := os.Open(sanitySkipped)
	require.NoError(t, err)
	defer f.Close()
	names := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, reason, _ := strings.Cut(lines.Text(), "#")
		if name = strings.TrimSpace(name); name != "" {
			names[name] = strings.TrimSpace(reason)
		}
	}
	return names
}

const sanityClasses = `
pools:
- {name: ssd, volumeGroup: vg0}
- {name: thin, volumeGroup: vg0, thinPool: pool}
classes:
- {name: ssd, pool: ssd, default: true}
- {name: thin, pool: thin, overprovision: 10}
`

// newSanityNode is a node with space for csi-sanity's volumes of 10 GiB.
func newSanityNode(t *testing.T) *fakeNode {
	n := newFakeNode(t)
	require.NoError(t, n.host.AddDisk(fakelvm.Disk{Path: "/dev/fake1", Size: 1 << 40}))
	n.lvm("vgextend", "vg0", "/dev/fake1")
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "100g", "vg0")
	n.classes = classes(t, sanityClasses)
	n.reaper.Interval = 0
	return n
}

// serve runs the agent on a socket until stop is called, or the test ends.
func (n *fakeNode) serve(socket string) (stop func()) {
	n.t.Helper()
	n.socket = socket
	n.restart()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.agent.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(n.t, <-done)
	})
	n.t.Cleanup(stop)
	dial(n.t, socket)
	return stop
}

func (f sanityFiles) config(name, socket, class, access string) *sanity.TestConfig {
	c := sanity.NewTestConfig()
	dir := f.dir + "/" + strings.ReplaceAll(name, " ", "-")
	c.TargetPath, c.StagingPath = dir+"/mount", dir+"/staging"
	c.Address = "unix:" + socket
	c.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(unhurried{insecure.NewCredentials()}), grpc.WithAuthority("localhost")}
	c.TestVolumeAccessType = access
	c.TestVolumeParameters = map[string]string{"podlv.dev/class": class}
	c.CreateTargetDir = func(p string) (string, error) { return p, f.mkdir(p) }
	c.RemoveTargetPath = f.remove
	c.CreateStagingDir = func(p string) (string, error) { return p, f.mkdir(p) }
	c.RemoveStagingPath = f.remove
	c.CheckPath = f.kind
	return &c
}

// unhurried takes its time to connect: csi-test 5.4.0 (utils.Connect) waits for the
// next change of a connection's state, for a minute and in vain if the connection
// was ready before it looked.
type unhurried struct {
	credentials.TransportCredentials
}

func (u unhurried) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	time.Sleep(300 * time.Millisecond)
	return u.TransportCredentials.ClientHandshake(ctx, authority, conn)
}

func (u unhurried) Clone() credentials.TransportCredentials {
	return unhurried{u.TransportCredentials.Clone()}
}
