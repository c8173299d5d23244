// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/oracle"
	"github.com/podlv/podlv/sim/report"
)

const metricsText = `# HELP apiserver_request_total [STABLE] Counter of requests.
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",resource="nodes",subresource="status",verb="PATCH"} 7
apiserver_request_total{code="409",resource="nodes",subresource="status",verb="PATCH"} 1
apiserver_request_total{code="200",resource="pods",subresource="",verb="LIST"} 9
apiserver_request_total{code="201",resource="pods",subresource="",verb="POST"} 4
apiserver_request_total{code="200",resource="leases",subresource="",verb="PUT"} 100
# TYPE etcd_requests_total counter
etcd_requests_total 5
# TYPE scheduler_schedule_attempts_total counter
scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 4
scheduler_schedule_attempts_total{profile="default-scheduler",result="unschedulable"} 3
`

func TestWhatTheControlPlaneWasAsked(t *testing.T) {
	after := parseAPIUse([]byte(metricsText))
	before := parseAPIUse([]byte("# TYPE apiserver_request_total counter\napiserver_request_total{resource=\"pods\",verb=\"POST\"} 2\n"))
	r := &report.Report{}
	cost(r, before, after, 4)
	require.Equal(t, []report.APIRequests{{Verb: "PATCH", Resource: "nodes/status", Count: 8}, {Verb: "POST", Resource: "pods", Count: 2}}, r.APIRequests)
	require.InDelta(t, 2.5, r.Metrics.APIWritesPerVolume, 1e-9)
	require.InDelta(t, 2, r.Metrics.NodeStatusWritesPerVolume, 1e-9)
	require.Zero(t, r.Metrics.CapacityWritesPerVolume)
	require.Equal(t, 7, r.Metrics.ScheduleAttempts)
	require.Equal(t, 3, r.Metrics.ScheduleFailures)

	cost(r, before, parseAPIUse([]byte("nothing of the kind\n")), 4)
	require.Empty(t, r.APIRequests)
	require.Equal(t, -1, r.Metrics.ScheduleAttempts, "it is not known")
	require.InDelta(t, -1, r.Metrics.APIWritesPerVolume, 1e-9)
	cost(r, before, before, 0)
	require.InDelta(t, -1, r.Metrics.APIWritesPerVolume, 1e-9, "there were no volumes")
	require.Equal(t, -1, r.Metrics.ScheduleAttempts, "the scheduler is another process")
}

func TestRates(t *testing.T) {
	start := time.Now()
	at := func(ms ...int) (all []time.Time) {
		for _, m := range ms {
			all = append(all, start.Add(time.Duration(m)*time.Millisecond))
		}
		return all
	}
	overall, peak := rates(start, at(4000, 1000, 1500, 1999, 2000))
	require.InDelta(t, 1.25, overall, 1e-9)
	require.InDelta(t, 3, peak, 1e-9)
	overall, peak = rates(start, nil)
	require.Zero(t, overall+peak)
}

func TestFragmentation(t *testing.T) {
	require.InDelta(t, 0.75, fragmentation([]oracle.Room{{Free: 5}, {Free: 5}, {Free: 5}, {Free: 5}}), 1e-9)
	require.Zero(t, fragmentation([]oracle.Room{{Free: 5}, {Free: 0}}))
	require.Zero(t, fragmentation([]oracle.Room{{Free: 0}}), "nothing is free")
}

func TestOnlyPodlvsVolumesCount(t *testing.T) {
	pod := &corev1.Pod{}
	pod.Name = "a"
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}},
		{Name: "x", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "another"}}},
		{Name: "y", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver.Name}}},
		{Name: "z", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
	}
	require.Equal(t, 2, volumesIn(pod))
	require.Equal(t, []string{"a-z"}, claimNames(pod))
}
