// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The scheduler reserves nothing for claims: what one will take is off the capacity as
// soon as it was sent here, before its volume is made, and off it once.
func TestClaimThatComesIsOffTheCapacityAtOnce(t *testing.T) {
	n, client := provisioningNode(t)
	const all = 10*gib - 4*mib
	n.capacityBecomes(client, map[string]int64{"fast": all})
	release := n.host.Hang("lvcreate")
	defer release()
	_, err := client.CoreV1().PersistentVolumeClaims("default").Create(context.Background(), pvc("a", "1Gi", "node1"), metav1.CreateOptions{})
	require.NoError(t, err)
	n.capacityBecomes(client, map[string]int64{"fast": all - gib})
	require.Empty(t, n.volumes(), "its volume is not there")
	writes := writesOfCapacity(client)
	release()
	require.Eventually(t, func() bool { return len(n.volumes()) == 1 }, 10*time.Second, 5*time.Millisecond)
	for range 20 {
		n.clock.Step(500 * time.Millisecond)
		time.Sleep(2 * time.Millisecond)
	}
	n.capacityBecomes(client, map[string]int64{"fast": all - gib})
	require.Equal(t, writes, writesOfCapacity(client), "the same number is not written again")
}

// A claim of another node takes nothing here, and one whose volume cannot be made does
// not for ever.
func TestClaimThatDoesNotComeIsNotCounted(t *testing.T) {
	wrong := pvc("wrong", "1Gi", "node1")
	wrong.Spec.AccessModes = append(wrong.Spec.AccessModes, "ReadWriteMany")
	n, client := provisioningNode(t, pvc("theirs", "1Gi", "node2"), wrong)
	const all = 10*gib - 4*mib
	start := n.clock.Now()
	require.Eventually(t, func() bool { // it was tried
		events, err := client.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{})
		return err == nil && len(events.Items) > 0
	}, 10*time.Second, 5*time.Millisecond)
	n.capacityBecomes(client, map[string]int64{"fast": all})
	require.Less(t, n.clock.Since(start), 5*time.Minute, "that it could not be made is why")
	require.Empty(t, n.volumes())
}
