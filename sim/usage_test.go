// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUsageIsThatOfTheProcess(t *testing.T) {
	before := usage("self")
	require.Greater(t, before.PeakMemory, int64(1<<20))
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		continue // it takes a processor
	}
	after := usage("self")
	require.Greater(t, after.CPUSeconds, before.CPUSeconds)
	require.Less(t, after.CPUSeconds, 1e4)
	require.Zero(t, usage("0"), "there is no such process")
}
