// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package driver_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mortal is an agent's way to the API server. At the write that is named the agent
// dies, before the API server has it or after, and nothing comes through any more.
type mortal struct {
	next http.RoundTripper
	die  func() // of the rest of the machine

	mu      sync.Mutex
	writes  []string // "POST persistentvolumes 1"
	at      string   // the write to die at; empty: none
	after   bool     // the API server has it
	dead    bool
	deathOf chan struct{}
}

var errDead = errors.New("this agent is dead")

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	key, write := writeOf(r)
	m.mu.Lock()
	if m.dead {
		m.mu.Unlock()
		return nil, errDead
	}
	dies := false
	if write {
		n := 1
		for _, w := range m.writes {
			if strings.HasPrefix(w, key+" ") {
				n++
			}
		}
		key = fmt.Sprintf("%s %d", key, n)
		m.writes = append(m.writes, key)
		dies = key == m.at
	}
	if dies {
		m.dead = true
		m.die()
		defer close(m.deathOf)
	}
	m.mu.Unlock()
	if !dies {
		return m.next.RoundTrip(r)
	}
	if m.after {
		if response, err := m.next.RoundTrip(r); err == nil {
			_ = response.Body.Close() // the answer reaches nobody
		}
	}
	return nil, errDead
}

// writeOf names a write by its method and resource. Events are nobody's state.
func writeOf(r *http.Request) (key string, write bool) {
	if r.Method == http.MethodGet {
		return "", false
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	for i, word := range path {
		switch word {
		case "persistentvolumes", "persistentvolumeclaims", "csistoragecapacities", "nodes":
			key = r.Method + " " + word
			if path[len(path)-1] == "status" && i != len(path)-1 {
				key += "/status"
			}
			return key, true
		}
	}
	return "", false
}

// live is a claim's whole life on a node.
func (c *clusterOfAgents) live(name, node string) {
	c.runOn(name, "64Mi", node)
	at, pv := c.node(name)
	require.Equal(c.t, node, at)
	require.Equal(c.t, []string{pv.Name}, c.nodes[node].volumes(), "one volume, and one LV")
	c.end(name, pv)
	c.eventually("remove the LV of "+name, func() error {
		if left := c.nodes[node].volumes(); len(left) > 0 {
			return fmt.Errorf("%v are left", left)
		}
		return nil
	})
}

// The agent dies at each of its writes to the API server, before it and after it. The
// next one goes on, and in the end nothing is left and nothing was made twice.
func TestControlPlaneAgentDiesAtEachWrite(t *testing.T) {
	c := newClusterOfAgents(t)
	reaches := &mortal{die: func() {}}
	c.join("lives", func(next http.RoundTripper) http.RoundTripper { reaches.next = next; return reaches })
	c.live("lives", "lives")
	c.published("lives", 10*gib-4*mib, time.Now())
	reaches.mu.Lock()
	writes := reaches.writes
	reaches.mu.Unlock()
	require.Greater(t, len(writes), 5, "%v", writes)
	t.Logf("the agent's writes for a claim's life: %s", strings.Join(writes, ", "))

	type scenario struct {
		name string
		m    *mortal
		stop func()
	}
	var all []scenario
	for i, w := range writes {
		for _, after := range []bool{false, true} {
			s := scenario{name: fmt.Sprintf("n%d-%t", i, after), m: &mortal{at: w, after: after, deathOf: make(chan struct{})}}
			c.prepare = func(n *fakeNode) { s.m.die = func() { n.host.CrashAfter(0) } }
			s.stop = c.join(s.name, func(next http.RoundTripper) http.RoundTripper { s.m.next = next; return s.m })
			all = append(all, s)
		}
	}
	var work sync.WaitGroup
	died := make([]bool, len(all))
	lived := make([]chan struct{}, len(all))
	for i, s := range all {
		lived[i] = make(chan struct{})
		work.Go(func() { // whoever dies is there again when it has
			select {
			case <-s.m.deathOf:
				died[i] = true
			case <-lived[i]:
				select {
				case <-s.m.deathOf:
					died[i] = true
				case <-time.After(15 * time.Second): // this write did not come: see below
				}
			}
			s.stop()
			n := c.nodes[s.name]
			n.cluster = c.shared
			n.serve(filepath.Join(t.TempDir(), "csi.sock"))
		})
	}
	for i, s := range all {
		work.Go(func() {
			defer close(lived[i])
			c.live(s.name, s.name)
		})
	}
	work.Wait()
	deaths := 0
	for _, d := range died {
		if d {
			deaths++
		}
	}
	t.Logf("%d deaths of %d", deaths, len(all))
	// How often capacity is written depends on time; all else has its place.
	require.GreaterOrEqual(t, deaths, len(all)*3/4)
	for _, s := range all {
		c.published(s.name, 10*gib-4*mib, time.Now())
	}
	list, err := c.api.CoreV1().PersistentVolumes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, list.Items)
}
