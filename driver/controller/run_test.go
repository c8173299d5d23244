// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// The leader works, and gives its lease back when it ends; the next one takes it.
func TestTheLeaderWorks(t *testing.T) {
	api := fake.NewClientset(storageClass("s"), claimOf("c", ptr.To("s")), capacityOf("left", "gone", "s"))
	for _, name := range []string{"first", "second"} {
		k, err := New(Config{
			Client: api, Registry: prometheus.NewRegistry(), Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler),
			Classes: func() (*driver.Classes, error) { return driver.ParseClasses([]byte(classesFile)) },
			Lease:   &Lease{Namespace: "podlv-system", Name: "podlv-controller", Identity: name},
		})
		require.NoError(t, err)
		require.Error(t, k.Ready(t.Context()), "before it has read anything")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- k.Run(ctx) }()
		holder := func() string {
			l, err := api.CoordinationV1().Leases("podlv-system").Get(t.Context(), "podlv-controller", metav1.GetOptions{})
			if err != nil {
				return ""
			}
			return ptr.Deref(l.Spec.HolderIdentity, "")
		}
		require.Eventually(t, func() bool { return holder() == name }, 10*time.Second, 10*time.Millisecond)
		require.NoError(t, k.Ready(t.Context()))
		require.Eventually(t, func() bool {
			left, err := api.StorageV1().CSIStorageCapacities("podlv-system").List(t.Context(), metav1.ListOptions{})
			return err == nil && len(left.Items) == 0
		}, 10*time.Second, 10*time.Millisecond)
		stop()
		require.NoError(t, <-ended)
		require.Empty(t, holder())
	}
}

func TestANegativeDelayIsRefused(t *testing.T) {
	_, err := New(Config{NodeLossDelay: -time.Second, Registry: prometheus.NewRegistry()})
	require.ErrorContains(t, err, "-1s: must not be negative")
}
