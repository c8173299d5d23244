// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes/fake"
)

// Watching waits until a fake API server has been asked for so many watches since its
// action number from. An informer says that it has synced when it has listed, and watches
// after that: in between, a deletion is one that it is never told of, and of several
// changes it is told the last.
func Watching(t testing.TB, client *fake.Clientset, from, watches int) {
	t.Helper()
	require.Eventually(t, func() bool {
		n := 0
		for _, a := range client.Actions()[from:] {
			if a.GetVerb() == "watch" {
				n++
			}
		}
		return n >= watches
	}, 10*time.Second, time.Millisecond, "%d watches", watches)
}
