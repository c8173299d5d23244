// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package driver_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// The agent dies when it has made a volume and the API server has no PersistentVolume of
// it yet; the claim is deleted before it is back. The next agent removes the LV, and none
// that is anybody's.
func TestControlPlaneOrphanIsRemoved(t *testing.T) {
	c := newClusterOfAgents(t)
	c.prepare = func(n *fakeNode) {
		n.host.SetClock(time.Now) // as its agent's
		n.reaper.Interval, n.reaper.MinAge = 200*time.Millisecond, time.Second
	}
	c.join("other", nil)
	m := &mortal{at: "POST persistentvolumes 2", deathOf: make(chan struct{})}
	m.die = func() { c.nodes["dies"].host.CrashAfter(0) }
	stop := c.join("dies", func(next http.RoundTripper) http.RoundTripper { m.next = next; return m })
	c.runOn("stays", "64Mi", "dies")
	_, stays := c.node("stays")
	c.runOn("lost", "64Mi", "dies")
	select {
	case <-m.deathOf:
	case <-time.After(time.Minute):
		require.Fail(t, "the agent has not written the second PersistentVolume")
	}
	n := c.nodes["dies"]
	n.host.Restart()
	require.Len(t, n.volumes(), 2)
	require.NoError(t, c.api.CoreV1().Pods("default").Delete(t.Context(), "lost", metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}))
	require.NoError(t, c.api.CoreV1().PersistentVolumeClaims("default").Delete(t.Context(), "lost", metav1.DeleteOptions{}))
	c.eventually("delete the claim", func() error {
		_, err := c.api.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), "lost", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
	stop()
	n.cluster = c.shared
	n.serve(filepath.Join(t.TempDir(), "csi.sock"))
	c.eventually("remove the orphan", func() error {
		if left := n.volumes(); !slices.Equal(left, []string{stays.Name}) {
			return fmt.Errorf("%v are left", left)
		}
		return nil
	})
	time.Sleep(2 * time.Second) // many passes
	require.Equal(t, []string{stays.Name}, n.volumes())
	c.end("stays", stays)
}
