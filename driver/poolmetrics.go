// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podlv/podlv/lvm"
)

const (
	// scrapeAge is how old the numbers may be. While the agent publishes capacity they
	// never are; an agent without a Kubernetes API must not ask LVM for every scrape.
	scrapeAge = 10 * time.Minute
	// scrapeTime is how long a scrape waits for LVM.
	scrapeTime = 5 * time.Second
)

// poolMetrics are the numbers of the node's pools and volumes, as they are when they
// are asked for.
type poolMetrics struct {
	classes   *ClassSource
	model     *model
	publisher *publisher // nil without a Kubernetes API
	log       *slog.Logger
	descs     map[string]*prometheus.Desc // by name
}

// Names of metrics.
const (
	poolSize        = "podlv_pool_size_bytes"
	poolFree        = "podlv_pool_free_bytes"
	poolReserve     = "podlv_pool_reserve_bytes"
	poolAllocatable = "podlv_pool_allocatable_bytes"
	poolCharged     = "podlv_pool_charged_bytes"
	poolOwed        = "podlv_pool_owed_bytes"
	thinData        = "podlv_thin_pool_data_ratio"
	thinMetadata    = "podlv_thin_pool_metadata_ratio"
	volumeCount     = "podlv_volumes"
	staleness       = "podlv_capacity_staleness_seconds"
	volumeBytes     = "podlv_volume_bytes"
)

// poolMetricTable is each metric's help, and its labels.
var poolMetricTable = []struct {
	name, help string
	labels     []string
}{
	{poolSize, "Size of a pool: of its volume group, or of its thin pool.", []string{"pool"}},
	{poolFree, "What volumes can still be made of, the reserve included; of a thin pool what it may still promise.", []string{"pool"}},
	{poolReserve, "What podlv leaves alone.", []string{"pool"}},
	{poolAllocatable, "What the scheduler may give to pods: the extended resource podlv.dev/POOL of the Node.", []string{"pool"}},
	{poolCharged, "What the pods that are bound to this node are charged.", []string{"pool"}},
	{poolOwed, "What bound pods have not made yet of what they are charged; claims are not given it.", []string{"pool"}},
	{thinData, "How full a thin pool is, 0 to 1.", []string{"pool"}},
	{thinMetadata, "How full a thin pool's metadata is, 0 to 1.", []string{"pool"}},
	{volumeCount, "Volumes of ours, by device class and kind.", []string{"class", "kind"}},
	{staleness, "Time since what the scheduler is told was seen to be what the volume groups have; -1 before the first time.", nil},
	{volumeBytes, "Sum of the sizes of volumes of ours, by device class and kind.", []string{"class", "kind"}},
}

func newPoolMetrics(classes *ClassSource, m *model, p *publisher, log *slog.Logger) *poolMetrics {
	descs := map[string]*prometheus.Desc{}
	for _, row := range poolMetricTable {
		descs[row.name] = prometheus.NewDesc(row.name, row.help, row.labels, nil)
	}
	return &poolMetrics{classes: classes, model: m, publisher: p, log: log, descs: descs}
}

// Describe implements prometheus.Collector.
func (m *poolMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *poolMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	groups, err := m.model.recent(ctx, scrapeAge)
	if err != nil {
		m.log.Warn("no metrics of the pools: LVM does not answer", "error", err)
		return
	}
	gauge := func(name string, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(m.descs[name], prometheus.GaugeValue, value, labels...)
	}
	classes := m.classes.Get()
	for _, pool := range classes.pools {
		g, err := lvm.Find(groups, pool.VolumeGroup)
		if err != nil {
			continue // readiness says so
		}
		size := g.Size
		if pool.ThinPool != "" {
			thin, _ := g.LogicalVolume(pool.ThinPool)
			size = thin.Size
			if thin.DataPercent >= 0 { // known: it is active
				gauge(thinData, thin.DataPercent/100, pool.Name)
				gauge(thinMetadata, thin.MetadataPercent/100, pool.Name)
			}
		}
		gauge(poolSize, float64(size), pool.Name)
		gauge(poolFree, float64(ledger{classes: classes}.free(g, pool)), pool.Name)
		gauge(poolReserve, float64(pool.Reserve), pool.Name)
	}
	m.collectAccounts(gauge, classes, groups)
	collectVolumes(gauge, classes, groups)
}

func (m *poolMetrics) collectAccounts(gauge func(string, float64, ...string), classes *Classes, groups []lvm.VolumeGroup) {
	if m.publisher == nil || !m.publisher.synced() {
		return
	}
	gauge(staleness, m.publisher.staleness())
	pods, err := m.publisher.pods(classes)
	if err != nil {
		return // an informer's cache does not fail
	}
	for pool, a := range m.publisher.accounts(classes, groups, pods) {
		gauge(poolAllocatable, float64(a.allocatable), pool)
		gauge(poolCharged, float64(a.charged), pool)
		gauge(poolOwed, float64(a.owed), pool)
	}
}

func collectVolumes(gauge func(string, float64, ...string), classes *Classes, groups []lvm.VolumeGroup) {
	type key struct{ class, kind string }
	count, bytes := map[key]float64{}, map[key]float64{}
	for _, name := range classes.VolumeGroups() {
		g, err := lvm.Find(groups, name)
		if err != nil {
			continue
		}
		for _, l := range g.LogicalVolumes {
			if !l.HasTag(Owner) {
				continue
			}
			k := key{}
			k.class, _ = l.TagValue(tagClass)
			k.kind, _ = l.TagValue(tagKind)
			count[k]++
			bytes[k] += float64(l.Size)
		}
	}
	for k := range count {
		gauge(volumeCount, count[k], k.class, k.kind)
		gauge(volumeBytes, bytes[k], k.class, k.kind)
	}
}
