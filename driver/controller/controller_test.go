// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
	"github.com/podlv/podlv/sim/kube/kubetest"
)

const classesFile = `
pools: [{name: ssd, volumeGroup: vg0}]
classes: [{name: fast, pool: ssd}, {name: slow, pool: ssd}]
`

// start is the time at which tests begin; objects are an hour old.
var start = metav1.NewTime(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).Local()) //nolint:gochecknoglobals // a constant

// bench is a controller over a fake API server.
type bench struct {
	*testing.T
	api     *fake.Clientset
	clock   *clocktesting.FakeClock
	classes string
	k       *Controller
	stop    func() // what the controller has started
}

func newBench(t *testing.T, objects ...runtime.Object) *bench {
	t.Helper()
	b := &bench{T: t, api: fake.NewClientset(objects...), clock: clocktesting.NewFakeClock(start.Time), classes: classesFile}
	b.restart()
	return b
}

// restart is a new controller, which has read everything.
func (b *bench) restart() {
	b.Helper()
	if b.k != nil {
		b.stop()
	}
	k, err := New(Config{
		Client: b.api, NodeLossDelay: 10 * time.Minute, Registry: prometheus.NewRegistry(), Clock: b.clock, Log: slog.New(slog.DiscardHandler),
		Classes: func() (*driver.Classes, error) { return driver.ParseClasses([]byte(b.classes)) },
	})
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	b.stop = func() { stop(); k.watched.shutdown() }
	b.Cleanup(b.stop)
	before := len(b.api.Actions())
	require.NoError(b, k.watched.start(ctx))
	kubetest.Watching(b, b.api, before, 6)
	b.k = k
}

// pass makes a pass, which must be complete.
func (b *bench) pass() {
	b.Helper()
	require.NoError(b, b.k.Pass(b.Context()))
}

// events is "Kind name reason: message" of all events.
func (b *bench) events() (all []string) {
	b.Helper()
	list, err := b.api.CoreV1().Events("").List(b.Context(), metav1.ListOptions{})
	require.NoError(b, err)
	for _, e := range list.Items {
		all = append(all, e.InvolvedObject.Kind+" "+e.InvolvedObject.Name+" "+e.Reason+": "+e.Message)
	}
	return all
}

// writes is "verb resource/name" of what was written, but events, since the last call.
// Every deletion must name the UID.
func (b *bench) writes() (all []string) {
	b.Helper()
	for _, a := range b.api.Actions() {
		if a.GetResource().Resource == "events" {
			continue
		}
		switch a := a.(type) {
		case clienttesting.DeleteAction:
			require.NotNil(b, a.GetDeleteOptions().Preconditions, "%v", a)
			require.Equal(b, types.UID("uid-"+a.GetName()), *a.GetDeleteOptions().Preconditions.UID)
			all = append(all, "delete "+a.GetResource().Resource+"/"+a.GetName())
		case clienttesting.PatchAction:
			all = append(all, "patch "+a.GetResource().Resource+"/"+a.GetName()+" "+string(a.GetPatch()))
		case clienttesting.CreateAction:
			all = append(all, "create "+a.GetResource().Resource)
		}
	}
	b.api.ClearActions()
	return all
}

// settled waits until the informers have seen what was written.
func (b *bench) settled(seen func() bool) {
	b.Helper()
	require.Eventually(b, seen, 5*time.Second, 5*time.Millisecond)
}

func madeAs(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))}
}

func storageClass(name string, change ...func(*storagev1.StorageClass)) *storagev1.StorageClass {
	s := &storagev1.StorageClass{
		ObjectMeta: madeAs(name), Provisioner: driver.Name, Parameters: map[string]string{"podlv.dev/class": "fast"},
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func claimOf(name string, class *string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: madeAs(name), Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: class}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}
	c.Namespace = "default"
	return c
}

// policy is a mutating policy that lists StorageClasses.
func policy(list string) *admissionv1.MutatingAdmissionPolicy {
	m := madeAs("podlv-pool-ssd")
	m.Labels, m.Annotations = map[string]string{admission.PoolLabel: "ssd"}, map[string]string{admission.StorageClassesAnnotation: list}
	return &admissionv1.MutatingAdmissionPolicy{ObjectMeta: m}
}

func TestClaimsThatCannotWork(t *testing.T) {
	immediate := func(s *storagev1.StorageClass) { s.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate) }
	parameters := func(p map[string]string) func(*storagev1.StorageClass) {
		return func(s *storagev1.StorageClass) { s.Parameters = p }
	}
	for name, row := range map[string]struct {
		class *storagev1.StorageClass
		claim *corev1.PersistentVolumeClaim
		says  string // "" for nothing
	}{
		"a good one":            {storageClass("s"), claimOf("c", ptr.To("s")), ""},
		"immediate":             {storageClass("s", immediate), claimOf("c", ptr.To("s")), `PodlvImmediate: StorageClass "s" has volumeBindingMode Immediate`},
		"no mode":               {storageClass("s", func(s *storagev1.StorageClass) { s.VolumeBindingMode = nil }), claimOf("c", ptr.To("s")), "PodlvImmediate: "},
		"an unknown class":      {storageClass("s", parameters(map[string]string{"podlv.dev/class": "fats"})), claimOf("c", ptr.To("s")), `PodlvUnknownClass: StorageClass "s": parameter podlv.dev/class: "fats" is no device class; there are fast, slow`},
		"no class":              {storageClass("s", parameters(nil)), claimOf("c", ptr.To("s")), `PodlvNoClass: StorageClass "s" names no device class, and there is no default one: parameter podlv.dev/class must be one of fast, slow`},
		"an unknown parameter":  {storageClass("s", parameters(map[string]string{"podlv.dev/clas": "fast"})), claimOf("c", ptr.To("s")), `PodlvUnknownParameter: StorageClass "s": invalid: StorageClass parameters: unknown "podlv.dev/clas"`},
		"another driver's":      {storageClass("s", immediate, func(s *storagev1.StorageClass) { s.Provisioner = "example.org" }), claimOf("c", ptr.To("s")), ""},
		"one that is not there": {storageClass("s", immediate), claimOf("c", ptr.To("none")), ""},
		"one that names none":   {storageClass("s", immediate), claimOf("c", nil), ""},
		"one that wants none":   {storageClass("s", immediate), claimOf("c", ptr.To("")), ""},
		"one with the old annotation": {storageClass("s", immediate), func() *corev1.PersistentVolumeClaim {
			c := claimOf("c", nil)
			c.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "s"}
			return c
		}(), "PodlvImmediate: "},
		"one that is bound": {storageClass("s", immediate), func() *corev1.PersistentVolumeClaim {
			c := claimOf("c", ptr.To("s"))
			c.Spec.VolumeName, c.Status.Phase = "v", corev1.ClaimBound
			return c
		}(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, policy("s="+row.class.Parameters["podlv.dev/class"]), row.class, row.claim)
			b.pass()
			if row.says == "" {
				require.Empty(t, b.events())
				return
			}
			require.Len(t, b.events(), 1)
			require.True(t, strings.HasPrefix(b.events()[0], "PersistentVolumeClaim c "+row.says), b.events()[0])
			e, err := b.api.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err)
			require.Equal(t, types.UID("uid-c"), e.Items[0].InvolvedObject.UID)
			require.Equal(t, corev1.EventTypeWarning, e.Items[0].Type)
		})
	}
}

// once is how many times events were written, whether they were there or not.
func (b *bench) tries() (n int) {
	for _, a := range b.api.Actions() {
		if a.Matches("create", "events") {
			n++
		}
	}
	return n
}

func TestAnEventIsWrittenOnce(t *testing.T) {
	b := newBench(t, policy("s=fats"), storageClass("s", func(s *storagev1.StorageClass) { s.Parameters["podlv.dev/class"] = "fats" }), claimOf("c", ptr.To("s")))
	for range 3 {
		b.pass()
	}
	require.Len(t, b.events(), 1)
	require.Equal(t, 1, b.tries(), "what is said is not said again")

	b.restart()
	for range 3 {
		b.pass()
	}
	require.Len(t, b.events(), 1, "after a restart neither")

	// Another claim of that name is another claim.
	require.NoError(t, b.api.CoreV1().PersistentVolumeClaims("default").Delete(t.Context(), "c", metav1.DeleteOptions{}))
	again := claimOf("c", ptr.To("s"))
	again.UID = "another"
	_, err := b.api.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), again, metav1.CreateOptions{})
	require.NoError(t, err)
	b.settled(func() bool {
		c, err := b.k.watched.claims.PersistentVolumeClaims("default").Get("c")
		return err == nil && c.UID == "another"
	})
	b.pass()
	require.Len(t, b.events(), 2)
}

func TestAnEventThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	b := newBench(t, policy("s=fats"), storageClass("s", func(s *storagev1.StorageClass) { s.Parameters["podlv.dev/class"] = "fats" }), claimOf("c", ptr.To("s")))
	broken := true
	b.api.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
		return broken, nil, errors.New("the API server has a cold")
	})
	require.ErrorContains(t, b.k.Pass(t.Context()), "write an event about PersistentVolumeClaim c: the API server has a cold")
	broken = false
	b.pass()
	require.Len(t, b.events(), 1)
}

// A mistake in the device classes keeps nothing else from being done.
func TestBadDeviceClassesAreReported(t *testing.T) {
	b := newBench(t, capacityOf("left", "gone", "s"))
	b.classes = "classes: []"
	require.ErrorContains(t, b.k.Pass(t.Context()), "pools: at least one is needed")
	require.Equal(t, []string{"delete csistoragecapacities/left"}, b.writes())
}

func TestStorageClassesThatNoPolicyLists(t *testing.T) {
	byDefault := func(s *storagev1.StorageClass) { s.Annotations = map[string]string{annotationDefault: "true"} }
	noClass := func(s *storagev1.StorageClass) { s.Parameters = nil }
	for name, row := range map[string]struct {
		class   *storagev1.StorageClass
		list    string
		classes string
		says    []string
	}{
		"listed":                    {storageClass("s"), "s=fast", "", nil},
		"not listed":                {storageClass("s"), "t=fast", "", []string{`StorageClass s PodlvUnlisted: no admission policy lists this StorageClass: the scheduler does not count what generic ephemeral volumes of it take; run podlv policies with --storage-class s=fast`}},
		"listed as another":         {storageClass("s"), "s=slow", "", []string{`StorageClass s PodlvUnlisted: the admission policies list this StorageClass with device class "slow", but it has "fast"`}},
		"listed as the default":     {storageClass("s"), "s=", strings.Replace(classesFile, "fast,", "fast, default: true,", 1), nil},
		"listed as no default":      {storageClass("s", noClass), "s=slow", strings.Replace(classesFile, "fast,", "fast, default: true,", 1), []string{`with device class "slow", but it has ""`}},
		"the cluster's":             {storageClass("s", byDefault), "*s=fast", "", nil},
		"the cluster's, not listed": {storageClass("s", byDefault), "s=fast", "", []string{"StorageClass s PodlvUnlistedDefault: this is the cluster's default StorageClass"}},
		"young":                     {storageClass("s", func(s *storagev1.StorageClass) { s.CreationTimestamp = start }), "", "", nil},
		"another driver's":          {storageClass("s", func(s *storagev1.StorageClass) { s.Provisioner = "example.org" }), "", "", nil},
		"with a bad policy of loss": {storageClass("s", func(s *storagev1.StorageClass) { s.Annotations = map[string]string{annotationNodeLoss: "Delete"} }), "s=fast", "", []string{`PodlvNodeLossPolicy: annotation podlv.dev/on-node-loss: "Delete": must be retain or delete; it is taken for retain`}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, policy(row.list), row.class)
			if row.classes != "" {
				b.classes = row.classes
			}
			b.pass()
			b.restart()
			b.pass()
			require.Len(t, b.events(), len(row.says), "%v", b.events())
			for i, says := range row.says {
				require.Contains(t, b.events()[i], says)
			}
		})
	}
}
