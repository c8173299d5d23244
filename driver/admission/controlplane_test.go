// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package admission_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	v1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	mib = 1 << 20
	gib = 1 << 30
	ssd = "podlv.dev/ssd"
	hdd = "podlv.dev/hdd"
)

func TestControlPlanePolicies(t *testing.T) {
	c := newCluster(t)
	for name, test := range map[string]func(*testing.T, *cluster){
		"charges":                   chargesOfPods,
		"requests that are there":   requestsAreKept,
		"charges are the driver's":  chargesAreTheDrivers,
		"what is wrong is said":     mistakesAreNamed,
		"many volumes":              manyVolumes,
		"pods can be updated":       podsCanBeUpdated,
		"exempt namespaces":         exemptNamespaces,
		"DaemonSets":                daemonSets,
		"claims get what is listed": claimsOfTheDefault,
		"agents keep to their Node": agentsAreFenced,
		"volumes of other policies": othersAddVolumes,
	} {
		t.Run(name, func(t *testing.T) {
			inner := *c
			inner.T = t
			test(t, &inner)
		})
	}
	t.Run("a pod that asks for too little", func(t *testing.T) {
		inner := *c
		inner.T = t
		asksForTooLittle(t, &inner)
	})
}

// Where the mutating policy does not hold, whatever the reason, the validating one
// refuses what the scheduler would not count.
func asksForTooLittle(t *testing.T, c *cluster) {
	require.NoError(t, c.api.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Delete(t.Context(), "podlv-pool-hdd", metav1.DeleteOptions{}))
	pod := podOf("p", inline("a", "plain", "1Gi"), inline("b", "stripes", "1"))
	var err error
	c.eventually("the end of the mutating policy", func() error {
		_, err = c.dryRun(pod)
		return denied(nil, err)
	})
	require.ErrorContains(t, err, "the pod's containers ask for 0 of podlv.dev/hdd, and its volumes of pool hdd take 1086324736 bytes: the request must be no less; leave it out to have it set")
	t.Log(err)
	pod.Spec.Containers = []corev1.Container{asking("c", map[string]string{hdd: "1086324735"})}
	_, err = c.dryRun(pod)
	require.ErrorContains(t, err, "ask for 1086324735 of podlv.dev/hdd")
	pod.Spec.Containers = []corev1.Container{asking("c", map[string]string{hdd: "1Gi"}), asking("d", map[string]string{hdd: "12Mi"})}
	_, err = c.dryRun(pod)
	require.NoError(t, err)
}

// A volume that another policy adds is counted, whichever comes first.
func othersAddVolumes(t *testing.T, c *cluster) {
	for _, name := range []string{"aa", "zz"} {
		policy := &v1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.MutatingAdmissionPolicySpec{
			FailurePolicy: ptr.To(v1.Fail), ReinvocationPolicy: v1.NeverReinvocationPolicy,
			MatchConstraints: &v1.MatchResources{ResourceRules: []v1.NamedRuleWithOperations{{RuleWithOperations: v1.RuleWithOperations{
				Operations: []v1.OperationType{v1.Create}, Rule: v1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}}}},
			MatchConditions: []v1.MatchCondition{{Name: "wants", Expression: `"inject" in object.metadata.?labels.orValue({}) && object.metadata.labels["inject"] == "` + name + `"`}},
			Mutations: []v1.Mutation{{PatchType: v1.PatchTypeJSONPatch, JSONPatch: &v1.JSONPatch{Expression: `[
  JSONPatch{op: "add", path: "/spec/volumes/-", value: Object.spec.volumes{name: "injected", csi: Object.spec.volumes.csi{driver: "podlv.dev", volumeAttributes: {"size": "1Gi"}}}},
  JSONPatch{op: "add", path: "/spec/containers/0", value: Object.spec.containers{name: "injected", image: "none"}}]`}}},
		}}
		_, err := c.api.AdmissionregistrationV1().MutatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = c.api.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Create(t.Context(), &v1.MutatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.MutatingAdmissionPolicyBindingSpec{PolicyName: name},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		pod := podOf("p", inline("a", "", "2Gi"))
		pod.Labels = map[string]string{"inject": name}
		var made *corev1.Pod
		c.eventually("the policy "+name, func() error {
			made, err = c.dryRun(pod)
			if err == nil && len(made.Spec.Containers) != 2 {
				err = fmt.Errorf("no container was added")
			}
			return err
		})
		sum := int64(0)
		for _, of := range asks(t, made) {
			sum += of[ssd]
		}
		require.EqualValues(t, 3*gib, sum, "%s: %v", name, asks(t, made))
	}
}

// asks is what each container of a pod asks for: container → resource → bytes. Requests
// and limits must be the same.
func asks(t *testing.T, pod *corev1.Pod) map[string]map[string]int64 {
	t.Helper()
	all := map[string]map[string]int64{}
	for _, c := range append(append([]corev1.Container{}, pod.Spec.Containers...), pod.Spec.InitContainers...) {
		for name, q := range c.Resources.Requests {
			limit := c.Resources.Limits[name]
			require.Zero(t, limit.Cmp(q), "%s: request %s, limit %s", name, q.String(), limit.String())
			if all[c.Name] == nil {
				all[c.Name] = map[string]int64{}
			}
			all[c.Name][string(name)] = q.Value()
		}
	}
	return all
}

func chargesOfPods(t *testing.T, c *cluster) {
	empty := corev1.Volume{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	foreign := corev1.Volume{Name: "f", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: "example.org", VolumeAttributes: map[string]string{"size": "1Gi", "class": "fast", "what": "ever"},
	}}}
	legacy := claim("l", ptr.To("other"), "1Gi")
	legacy.Ephemeral.VolumeClaimTemplate.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "local-mirror"}
	for name, row := range map[string]struct {
		volumes []corev1.Volume
		want    map[string]int64
	}{
		"no volume":                           {nil, nil},
		"no volume of ours":                   {[]corev1.Volume{empty, foreign, claim("x", ptr.To("other"), "1Gi"), claim("y", ptr.To(""), "1Gi")}, nil},
		"one":                                 {[]corev1.Volume{inline("a", "fast", "10Gi")}, map[string]int64{ssd: 10 * gib}},
		"one of the default class":            {[]corev1.Volume{inline("a", "", "10Gi"), empty}, map[string]int64{ssd: 10 * gib}},
		"rounded up":                          {[]corev1.Volume{inline("a", "", "4194305")}, map[string]int64{ssd: 8 * mib}},
		"a fraction":                          {[]corev1.Volume{inline("a", "", "1.1Gi")}, map[string]int64{ssd: 282 * 4 * mib}},
		"the class's size and unit":           {[]corev1.Volume{inline("a", "sized", "")}, map[string]int64{ssd: 3 * gib}},
		"of several classes and pools":        {[]corev1.Volume{inline("a", "", "1Gi"), inline("b", "mirror", "1Gi"), inline("c", "stripes", "4Mi"), inline("d", "cheap", "1")}, map[string]int64{ssd: 3*gib + 8*mib, hdd: 12 * mib, "podlv.dev/thin": 64 << 10}},
		"of a claim":                          {[]corev1.Volume{claim("a", ptr.To("local-mirror"), "1Gi")}, map[string]int64{ssd: 2*gib + 8*mib}},
		"of a claim that names none":          {[]corev1.Volume{claim("a", nil, "2.5Gi")}, map[string]int64{ssd: 2560 * mib}},
		"of a claim with the old annotation":  {[]corev1.Volume{legacy}, map[string]int64{ssd: 2*gib + 8*mib}},
		"of claims and inline volumes":        {[]corev1.Volume{claim("a", nil, "1Gi"), claim("b", ptr.To("local-striped"), "12Mi"), inline("c", "", "1Gi"), claim("d", ptr.To("other"), "1Gi")}, map[string]int64{ssd: 2 * gib, hdd: 12 * mib}},
		"of a pool that is not counted":       {[]corev1.Volume{inline("a", "quiet", "1Gi"), claim("b", ptr.To("local-quiet"), "1Gi"), inline("c", "", "1Gi")}, map[string]int64{ssd: gib}},
		"as much as can be counted, to a bit": {[]corev1.Volume{inline("a", "", "4Pi"), inline("b", "", "4503599627370495")}, map[string]int64{ssd: 1 << 53}},
	} {
		t.Run(name, func(t *testing.T) {
			pod, err := c.dryRun(podOf("p", row.volumes...))
			require.NoError(t, err)
			require.Equal(t, row.want, asks(t, pod)["c"])
		})
	}
}

// The larger of what is asked for and what the volumes take counts. The scheduler adds up
// the containers and the init containers that keep running.
func requestsAreKept(t *testing.T, c *cluster) {
	always := corev1.ContainerRestartPolicyAlways
	sidecar := asking("side", map[string]string{ssd: "3Gi"})
	sidecar.RestartPolicy = &always
	cpu := map[string]string{"cpu": "1", "example.org/gpu": "2"}
	for name, row := range map[string]struct {
		containers, inits []corev1.Container
		want              map[string]map[string]int64
	}{
		"smaller":                       {[]corev1.Container{asking("c", map[string]string{ssd: "1Gi"})}, nil, map[string]map[string]int64{"c": {ssd: 10 * gib}}},
		"larger":                        {[]corev1.Container{asking("c", map[string]string{ssd: "11Gi"})}, nil, map[string]map[string]int64{"c": {ssd: 11 * gib}}},
		"equal":                         {[]corev1.Container{asking("c", map[string]string{ssd: "10Gi"})}, nil, map[string]map[string]int64{"c": {ssd: 10 * gib}}},
		"of other things":               {[]corev1.Container{asking("c", cpu)}, nil, map[string]map[string]int64{"c": {ssd: 10 * gib, "cpu": 1, "example.org/gpu": 2}}},
		"of another pool":               {[]corev1.Container{asking("c", map[string]string{hdd: "1Gi"})}, nil, map[string]map[string]int64{"c": {ssd: 10 * gib, hdd: gib}}},
		"of two containers":             {[]corev1.Container{asking("c", map[string]string{ssd: "1Gi"}), asking("d", map[string]string{ssd: "2Gi"})}, nil, map[string]map[string]int64{"c": {ssd: 8 * gib}, "d": {ssd: 2 * gib}}},
		"of the second container":       {[]corev1.Container{asking("c", nil), asking("d", map[string]string{ssd: "20Gi"})}, nil, map[string]map[string]int64{"d": {ssd: 20 * gib}}},
		"of an init container":          {[]corev1.Container{asking("c", nil)}, []corev1.Container{asking("i", map[string]string{ssd: "20Gi"})}, map[string]map[string]int64{"c": {ssd: 10 * gib}, "i": {ssd: 20 * gib}}},
		"of a sidecar":                  {[]corev1.Container{asking("c", nil)}, []corev1.Container{asking("i", nil), sidecar}, map[string]map[string]int64{"c": {ssd: 7 * gib}, "side": {ssd: 3 * gib}}},
		"a fraction of an odd quantity": {[]corev1.Container{asking("c", map[string]string{ssd: "1.1G"}), asking("d", map[string]string{ssd: "1.5Gi"})}, nil, map[string]map[string]int64{"c": {ssd: 10*gib - 1536*mib}, "d": {ssd: 1536 * mib}}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf("p", inline("a", "", "10Gi"))
			pod.Spec.Containers, pod.Spec.InitContainers = row.containers, row.inits
			made, err := c.dryRun(pod)
			require.NoError(t, err)
			require.Equal(t, row.want, asks(t, made))

			// What has been through the policies goes through them as it is: they may run
			// more than once, and a pod may be made from one that was read.
			again := podOf("again", made.Spec.Volumes...)
			again.Spec.Containers, again.Spec.InitContainers = made.Spec.Containers, made.Spec.InitContainers
			for i := range again.Spec.Containers {
				again.Spec.Containers[i].VolumeMounts = nil // of the service account's token
			}
			second, err := c.dryRun(again)
			require.NoError(t, err)
			require.Equal(t, row.want, asks(t, second))
		})
	}
}

// CEL computes what the agent computes.
func chargesAreTheDrivers(t *testing.T, c *cluster) {
	random := rand.New(rand.NewPCG(7, 7))
	var sizes []string
	for range 80 {
		n := random.Int64N(int64(1) << (1 + random.IntN(52)))
		near := (n>>22)<<22 + random.Int64N(3) - 1 // around a multiple of the unit
		sizes = append(sizes,
			fmt.Sprint(n+1), fmt.Sprint(max(near, 1)),
			fmt.Sprintf("%d.%dGi", random.IntN(5000), 1+random.IntN(999)), fmt.Sprintf("%d.%02dMi", random.IntN(99999), 1+random.IntN(99)),
			fmt.Sprintf("%dMi", 4*(1+random.IntN(1<<20))), fmt.Sprintf("%d.%dT", random.IntN(1000), 1+random.IntN(9999)), fmt.Sprintf("%de%d", 1+random.IntN(9), random.IntN(15)))
	}
	sizes = append(sizes, "1", "1500m", "8Pi", "1.5Gi", "100Ti", "0.1Gi", "4.2Mi", "4.8Mi", "12Mi", "12582913")
	var tries errgroup.Group
	tries.SetLimit(8)
	for i, size := range sizes {
		class := c.classes.All()[i%len(c.classes.All())]
		q := resource.MustParse(size)
		want, err := class.Charge(q.Value())
		require.NoError(t, err)
		if want > 1<<53 || !class.Pool.Counted() {
			continue
		}
		tries.Go(func() error {
			pod, err := c.dryRun(podOf("p", inline("a", class.Name, size)))
			if err != nil {
				return fmt.Errorf("%s %s: %w", class.Name, size, err)
			}
			got := pod.Spec.Containers[0].Resources.Requests[corev1.ResourceName(class.Pool.Resource())]
			if got.Value() != want {
				return fmt.Errorf("class %s, size %s (%d bytes): CEL says %d, the driver %d", class.Name, size, q.Value(), got.Value(), want)
			}
			return nil
		})
	}
	require.NoError(t, tries.Wait())
	t.Logf("%d sizes", len(sizes))
}

func mistakesAreNamed(t *testing.T, c *cluster) {
	with := func(attributes map[string]string) corev1.Volume {
		v := inline("scratch", "", "")
		v.CSI.VolumeAttributes = attributes
		return v
	}
	for name, row := range map[string]struct {
		volume corev1.Volume
		says   string
	}{
		"no size":               {inline("scratch", "", ""), "volume scratch: volumeAttributes[size] is missing, and the class has no default size; write a quantity such as 10Gi"},
		"no attributes":         {with(nil), "volume scratch: volumeAttributes[size] is missing"},
		"not a quantity":        {inline("scratch", "fast", "10 GB"), `volume scratch: volumeAttributes[size]: "10 GB" is not a quantity; write 500Mi or 10Gi`},
		"zero":                  {inline("scratch", "", "0"), `volume scratch: volumeAttributes[size]: "0" must be more than 0`},
		"negative":              {inline("scratch", "", "-1Gi"), `"-1Gi" must be more than 0`},
		"thousandths":           {inline("scratch", "", "100m"), `"100m" is less than a byte: m means thousandths; write 100Mi`},
		"absurd":                {inline("scratch", "", "1e30"), `"1e30" is more than 8Pi, which is more than Kubernetes can count`},
		"more than 8Pi":         {inline("scratch", "mirror", "9007199254740993"), "is more than 8Pi"},
		"with copies":           {inline("scratch", "mirror", "5Pi"), "the pod's volumes of pool ssd take more than 8Pi together, which is more than Kubernetes can count"},
		"a claim":               {claim("scratch", ptr.To("local"), "1e30"), `a volume of pool ssd: size "1e30" is more than 8Pi, which is more than Kubernetes can count`},
		"unknown class":         {inline("scratch", "nvme", "1Gi"), `volume scratch: volumeAttributes[class]: "nvme" is no device class; there are fast, sized, mirror, plain, stripes, cheap, quiet`},
		"unknown class, size":   {inline("scratch", "nvme", ""), `"nvme" is no device class`},
		"unknown keys":          {with(map[string]string{"size": "1Gi", "sise": "1Gi", "Class": "x"}), "volume scratch: volumeAttributes: unknown "},
		"kubelet's keys":        {with(map[string]string{"size": "1Gi", "csi.storage.k8s.io/ephemeral": "false"}), "volumeAttributes: unknown csi.storage.k8s.io/ephemeral; allowed are class, mkfs-options, mount-options, size"},
		"after one that is not": {inline("scratch", "", "none"), `volume scratch: volumeAttributes[size]: "none"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.dryRun(podOf("p", inline("good", "", "1Gi"), row.volume))
			require.ErrorContains(t, err, row.says)
			t.Log(err)
		})
	}
}

// As many volumes as a pod might have, and more.
func manyVolumes(t *testing.T, c *cluster) {
	for _, n := range []int{100, 500} {
		var volumes []corev1.Volume
		for i := range n {
			if i%2 == 0 {
				volumes = append(volumes, inline(fmt.Sprintf("v%d", i), "mirror", "1.1Gi"))
			} else {
				volumes = append(volumes, claim(fmt.Sprintf("v%d", i), ptr.To("local-striped"), "1.1Gi"))
			}
		}
		pod, err := c.dryRun(podOf("p", volumes...))
		require.NoError(t, err, "%d volumes", n)
		require.Equal(t, map[string]int64{ssd: int64(n/2) * (282*4*mib + 4*mib) * 2, hdd: int64(n/2) * 282 * 4 * mib}, asks(t, pod)["c"])
	}
}

func podsCanBeUpdated(t *testing.T, c *cluster) {
	pod, err := c.api.CoreV1().Pods("default").Create(t.Context(), podOf("updated", inline("a", "", "1Gi"), claim("b", nil, "1Gi")), metav1.CreateOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 2*gib, asks(t, pod)["c"][ssd])
	for _, patch := range []string{`{"metadata":{"labels":{"a":"b"}}}`, `{"spec":{"containers":[{"name":"c","image":"another"}]}}`} {
		pod, err = c.api.CoreV1().Pods("default").Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	require.EqualValues(t, 2*gib, asks(t, pod)["c"][ssd])
	_, err = c.api.CoreV1().Pods("default").Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(`{"status":{"message":"x"}}`), metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	_, err = c.api.CoreV1().Pods("default").Patch(t.Context(), pod.Name, types.StrategicMergePatchType, []byte(`{"spec":{"ephemeralContainers":[{"name":"debug","image":"x"}]}}`), metav1.PatchOptions{}, "ephemeralcontainers")
	require.NoError(t, err)
	require.NoError(t, c.api.CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}))
}

// What no policy looks at comes to the agent as it is: it charges such a pod what its
// volumes take, and says what is wrong with them.
func exemptNamespaces(t *testing.T, c *cluster) {
	for _, v := range []corev1.Volume{inline("a", "", "1Gi"), inline("a", "none", "lots"), claim("a", nil, "1Gi")} {
		pod := podOf("p", v)
		pod.Namespace = "exempt"
		made, err := c.dryRun(pod)
		require.NoError(t, err)
		require.Empty(t, asks(t, made))
	}
}

// The pods of a DaemonSet are counted as others are, and its template stays as it was
// written.
func daemonSets(t *testing.T, c *cluster) {
	labels := map[string]string{"app": "daemon"}
	_, err := c.api.CoreV1().Nodes().Create(t.Context(), nodeOf("worker"), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.api.AppsV1().DaemonSets("default").Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "daemon"},
		Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podOf("", inline("a", "", "1Gi")).Spec,
		}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	var pod corev1.Pod
	c.eventually("a pod of the DaemonSet", func() error {
		pods, err := c.api.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=daemon"})
		if err != nil || len(pods.Items) == 0 {
			return fmt.Errorf("%d pods, %v", len(pods.Items), err)
		}
		pod = pods.Items[0]
		return nil
	})
	require.Equal(t, map[string]int64{ssd: gib}, asks(t, &pod)["c"])
	set, err := c.api.AppsV1().DaemonSets("default").Get(t.Context(), "daemon", metav1.GetOptions{})
	require.NoError(t, err)
	require.Empty(t, set.Spec.Template.Spec.Containers[0].Resources.Requests)
}

// A claim that names no StorageClass gets the one that the policies take it for.
func claimsOfTheDefault(t *testing.T, c *cluster) {
	_, err := c.api.CoreV1().Pods("default").Create(t.Context(), podOf("unnamed", claim("data", nil, "1Gi")), metav1.CreateOptions{})
	require.NoError(t, err)
	c.eventually("the claim of the pod", func() error {
		made, err := c.api.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), "unnamed-data", metav1.GetOptions{})
		if err != nil {
			return err
		}
		require.Equal(t, "local", *made.Spec.StorageClassName)
		return nil
	})
}
