// SPDX-License-Identifier: Apache-2.0

package admission_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
)

func config(t *testing.T, text string) admission.Config {
	t.Helper()
	classes, err := driver.ParseClasses([]byte(text))
	require.NoError(t, err)
	return admission.Config{Classes: classes, StorageClasses: map[string]string{"local": "fast"}, AgentNamespace: "podlv-system", AgentAccount: "podlv"}
}

const twoPools = `
pools: [{name: ssd, volumeGroup: vg0}, {name: hdd, volumeGroup: vg1}, {name: unused, volumeGroup: vg2}]
classes: [{name: fast, pool: ssd}, {name: slow, pool: hdd}]
`

func TestWhatDoesNotFitTogetherIsNamed(t *testing.T) {
	c := config(t, twoPools)
	c.StorageClasses = map[string]string{"local": "fats", "plain": "", "": "slow"}
	c.DefaultStorageClass, c.AgentAccount = "standard", ""
	_, err := admission.Objects(c)
	for _, says := range []string{
		`StorageClass "local": invalid: class "fats": unknown`, `StorageClass "plain": invalid: class: none is named`, "a StorageClass has an empty name",
		`default StorageClass "standard": is not among podlv's StorageClasses`, `ServiceAccount "podlv-system/": must be NAMESPACE/NAME`,
	} {
		require.ErrorContains(t, err, says)
	}
}

// What is printed is what kubectl and the API server read, strictly, and always the
// same.
func TestPrintedPoliciesAreRead(t *testing.T) {
	c := config(t, twoPools)
	c.ExemptNamespaces = []string{"b", "a"}
	objects, err := admission.Objects(c)
	require.NoError(t, err)
	var first, second bytes.Buffer
	require.NoError(t, admission.Print(&first, objects))
	again, err := admission.Objects(c)
	require.NoError(t, err)
	require.NoError(t, admission.Print(&second, again))
	require.Equal(t, first.String(), second.String())

	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	kinds := map[string]int{}
	for _, document := range strings.Split(first.String(), "---\n")[1:] {
		o, kind, err := decoder.Decode([]byte(document), nil, nil)
		require.NoError(t, err, document)
		require.Contains(t, objects, o)
		kinds[kind.Kind]++
	}
	require.Equal(t, map[string]int{
		"MutatingAdmissionPolicy": 2, "MutatingAdmissionPolicyBinding": 2, "ValidatingAdmissionPolicy": 5, "ValidatingAdmissionPolicyBinding": 5,
	}, kinds, "none for the pool without classes")
}

// Only what is about pods leaves namespaces out.
func TestAgentsAreFencedInExemptNamespacesToo(t *testing.T) {
	c := config(t, twoPools)
	c.ExemptNamespaces = []string{"kube-system"}
	objects, err := admission.Objects(c)
	require.NoError(t, err)
	for _, o := range objects {
		if b, ok := o.(*v1.ValidatingAdmissionPolicyBinding); ok {
			require.Equal(t, !strings.HasPrefix(b.Name, "podlv-agent"), b.Spec.MatchResources != nil, b.Name)
		}
	}
}

func TestStorageClassListIsReadAsItWasWritten(t *testing.T) {
	classes := map[string]string{"b": "", "a": "fast", "c": "slow"}
	list := admission.StorageClassList(classes, "b")
	require.Equal(t, "a=fast *b= c=slow", list)
	got, byDefault := admission.ParseStorageClassList(list)
	require.Equal(t, classes, got)
	require.Equal(t, "b", byDefault)
	got, byDefault = admission.ParseStorageClassList("  what ever =x *=y ")
	require.Empty(t, got)
	require.Empty(t, byDefault)
}
