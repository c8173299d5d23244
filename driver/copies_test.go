// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A StatefulSet's claims that are clones of one come all at once: none is told to call
// again, which a provisioner does later and later.
func TestCopiesOfOneVolumeGetTheirTurn(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"ssd", "thin"} {
		t.Run(class, func(t *testing.T) {
			n := newWideNode(t)
			source := newClaim("source", 16*mib).ofClass(class)
			n.inUse(source)
			copies, failed := make([]*claim, 6), make([]error, 6)
			var calls sync.WaitGroup
			for i := range copies {
				copies[i] = newClaim(fmt.Sprintf("copy-%d", i), 16*mib).ofClass(class).copyOf(source)
				calls.Go(func() { failed[i] = n.create(copies[i]) })
			}
			calls.Wait()
			for i, c := range copies {
				require.NoError(t, failed[i])
				n.served(c, "data of "+source.name)
			}
		})
	}
}
