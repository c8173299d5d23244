// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package driver_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// BenchmarkControlPlaneCreate measures what a CreateVolume takes in each inlinePool with
// a real API server. LVM is the fake one, which takes next to no time, so that what is
// left is podlv's own part: the arithmetic, and of a shared pool the calls of the API
// server. The agent has looked at the VG before each create, as it does twice a second.
func BenchmarkControlPlaneCreate(b *testing.B) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // it would write into the lines of results
	plane := newClusterOfAgents(b)
	for _, row := range []struct {
		name, inlinePool string
		pods             int
	}{
		{"none", "none", 0},
		{"reserved", "reserved=1Gi", 0},
		{"shared", "shared", 0},
		{"shared-100-pods", "shared", 100},
	} {
		b.Run(row.name, func(b *testing.B) {
			c := *plane
			c.t = b
			c.share()
			var calls timedCalls
			c.prepare = func(n *fakeNode) {
				n.classes = classes(b, "pools: [{name: ssd, volumeGroup: vg0, inlinePool: "+row.inlinePool+"}]\nclasses: [{name: ssd, pool: ssd, default: true}]\n")
			}
			// b.N is not known when it starts, so that a name is used once.
			name := fmt.Sprintf("%s-%d", row.name, b.N)
			stop := c.join(name, calls.wrap)
			defer stop()
			n := c.nodes[name]
			c.bindPods(name, row.pods)
			size := int64(10*gib - 4*mib)
			if row.inlinePool == "reserved=1Gi" {
				size -= gib
			}
			c.published(name, size, time.Now())

			var took []time.Duration
			asked := map[string][]time.Duration{}
			var made []*claim
			for i := range b.N {
				if len(made) == 100 { // the VG is nearly full
					for _, claim := range made {
						require.NoError(b, n.delete(claim))
					}
					made = nil
					c.published(name, size, time.Now())
				}
				claim := newClaim(fmt.Sprintf("bench-%d", i), 64*mib)
				claim.params["csi.storage.k8s.io/pvc/name"], claim.params["csi.storage.k8s.io/pvc/namespace"] = claim.name, "default"
				require.NoError(b, n.agent.Look(b.Context()))
				calls.take()
				start := time.Now()
				err := n.create(claim)
				took = append(took, time.Since(start))
				require.NoError(b, err)
				made = append(made, claim)
				before := "before" // the Node is patched
				for _, call := range calls.take() {
					switch call.what { // any other is the publisher's, which goes on meanwhile
					case "GET pods":
						asked["list-"+before] = append(asked["list-"+before], call.took)
					case "PATCH status":
						asked["patch"] = append(asked["patch"], call.took)
						before = "after"
					}
				}
			}
			b.ReportMetric(0, "ns/op") // it has what comes between the creates, too
			reportTimes(b, "create", took)
			requests := 0
			for name, times := range asked {
				reportTimes(b, name, times)
				requests += len(times)
			}
			b.ReportMetric(float64(requests)/float64(b.N), "requests/create")
		})
	}
}

// timedCalls are the calls of an API server.
type timedCalls struct {
	mu   sync.Mutex
	list []timedCall
}

type timedCall struct {
	what string // as "GET pods"
	took time.Duration
}

// wrap makes it see the calls of a client.
func (c *timedCalls) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		start := time.Now()
		response, err := next.RoundTrip(r)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.list = append(c.list, timedCall{r.Method + " " + path.Base(r.URL.Path), time.Since(start)})
		return response, err
	})
}

// take gives the calls since it was called last.
func (c *timedCalls) take() []timedCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.list
	c.list = nil
	return taken
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reportTimes reports percentiles in milliseconds; of nothing, nothing.
func reportTimes(b *testing.B, name string, times []time.Duration) {
	b.Helper()
	if len(times) == 0 {
		return
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, name+"-p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, name+"-p99-ms")
}

// bindPods makes pods that are bound to a node and have no volumes.
func (c *clusterOfAgents) bindPods(node string, n int) {
	c.t.Helper()
	for i := range n {
		c.eventually("make the pod", func() error { // its service account may come later
			_, err := c.api.CoreV1().Pods("default").Create(c.t.Context(), &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", node, i)},
				Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "none"}}},
			}, metav1.CreateOptions{})
			return err
		})
	}
}
