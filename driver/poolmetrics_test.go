// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestMetricsSayWhatThePoolsHave(t *testing.T) {
	n, client := provisioningNodeOf(t, `
pools: [{name: ssd, volumeGroup: vg0, reserve: 1Gi}, {name: lazy, volumeGroup: vg0, thinPool: pool}]
classes: [{name: ssd, pool: ssd, default: true}, {name: thin, pool: lazy, overprovision: 2}]
`)
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "1g", "vg0")
	addPod(t, client, boundPod(newVolume("a", "512Mi"), "1Gi"))
	require.NoError(t, n.publish(newVolume("a", "512Mi")))
	require.NoError(t, n.create(newClaim("c", 256*mib)))
	require.NoError(t, n.create(newClaim("d", 128*mib)))
	require.NoError(t, n.create(newClaim("e", 256*mib).ofClass("thin")))
	// The thin pool takes its data, its metadata and a spare, 4 MiB each.
	const free = whole - gib - 8*mib - 512*mib - 384*mib
	n.offers(client, free-gib+512*mib, free-gib-512*mib)
	n.clock.Step(time.Second)

	want := strings.NewReplacer("FREE", "8.711569408e+09", "OFFERED", "8.174698496e+09").Replace(`
# HELP podlv_pool_allocatable_bytes What the scheduler may give to pods: the extended resource podlv.dev/POOL of the Node.
# TYPE podlv_pool_allocatable_bytes gauge
podlv_pool_allocatable_bytes{pool="lazy"} 1.879048192e+09
podlv_pool_allocatable_bytes{pool="ssd"} OFFERED
# HELP podlv_pool_charged_bytes What the pods that are bound to this node are charged.
# TYPE podlv_pool_charged_bytes gauge
podlv_pool_charged_bytes{pool="lazy"} 0
podlv_pool_charged_bytes{pool="ssd"} 1.073741824e+09
# HELP podlv_pool_free_bytes What volumes can still be made of, the reserve included; of a thin pool what it may still promise.
# TYPE podlv_pool_free_bytes gauge
podlv_pool_free_bytes{pool="lazy"} 1.879048192e+09
podlv_pool_free_bytes{pool="ssd"} FREE
# HELP podlv_pool_owed_bytes What bound pods have not made yet of what they are charged; claims are not given it.
# TYPE podlv_pool_owed_bytes gauge
podlv_pool_owed_bytes{pool="lazy"} 0
podlv_pool_owed_bytes{pool="ssd"} 5.36870912e+08
# HELP podlv_pool_reserve_bytes What podlv leaves alone.
# TYPE podlv_pool_reserve_bytes gauge
podlv_pool_reserve_bytes{pool="lazy"} 0
podlv_pool_reserve_bytes{pool="ssd"} 1.073741824e+09
# HELP podlv_pool_size_bytes Size of a pool: of its volume group, or of its thin pool.
# TYPE podlv_pool_size_bytes gauge
podlv_pool_size_bytes{pool="lazy"} 1.073741824e+09
podlv_pool_size_bytes{pool="ssd"} 1.0733223936e+10
# HELP podlv_thin_pool_data_ratio How full a thin pool is, 0 to 1.
# TYPE podlv_thin_pool_data_ratio gauge
podlv_thin_pool_data_ratio{pool="lazy"} 0
# HELP podlv_volume_bytes Sum of the sizes of volumes of ours, by device class and kind.
# TYPE podlv_volume_bytes gauge
podlv_volume_bytes{class="ssd",kind="inline"} 5.36870912e+08
podlv_volume_bytes{class="ssd",kind="volume"} 4.02653184e+08
podlv_volume_bytes{class="thin",kind="volume"} 2.68435456e+08
# HELP podlv_volumes Volumes of ours, by device class and kind.
# TYPE podlv_volumes gauge
podlv_volumes{class="ssd",kind="inline"} 1
podlv_volumes{class="ssd",kind="volume"} 2
podlv_volumes{class="thin",kind="volume"} 1
`)
	require.NoError(t, testutil.GatherAndCompare(n.agent.Metrics(), strings.NewReader(want),
		"podlv_pool_allocatable_bytes", "podlv_pool_charged_bytes", "podlv_pool_free_bytes", "podlv_pool_owed_bytes", "podlv_pool_reserve_bytes",
		"podlv_pool_size_bytes", "podlv_thin_pool_data_ratio", "podlv_volume_bytes", "podlv_volumes"))
	problems, err := testutil.GatherAndLint(n.agent.Metrics())
	require.NoError(t, err)
	require.Empty(t, problems, "Prometheus' conventions")
}

// Nobody knows how full a thin pool is that is not active: it is not less than empty.
func TestInactiveThinPoolHasNoRatio(t *testing.T) {
	n := newFakeNodeOn(t, 1, `
pools: [{name: lazy, volumeGroup: vg0, thinPool: pool}]
classes: [{name: thin, pool: lazy}]
`)
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "1g", "vg0")
	n.lvm("lvchange", "-an", "vg0/pool")
	n.restart()
	for _, metric := range []string{"podlv_thin_pool_data_ratio", "podlv_thin_pool_metadata_ratio"} {
		count, err := testutil.GatherAndCount(n.agent.Metrics(), metric)
		require.NoError(t, err)
		require.Zero(t, count, metric)
	}
}
