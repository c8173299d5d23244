// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

// Classes of every layout.
const everyLayout = `
pools: [{name: ssd, volumeGroup: vg0}, {name: thin, volumeGroup: vg0, thinPool: pool}]
classes:
- {name: linear, pool: ssd}
- {name: coarse, pool: ssd, unit: 1Gi}
- {name: striped, pool: ssd, layout: striped, stripes: 3}
- {name: raid1, pool: ssd, layout: raid1, copies: 2}
- {name: thin, pool: thin}
`

func TestChargeByHand(t *testing.T) {
	classes, err := driver.ParseClasses([]byte(everyLayout))
	require.NoError(t, err)
	for _, row := range []struct {
		class        string
		size, charge int64
	}{
		{"linear", 1, 4 * mib},
		{"linear", 4 * mib, 4 * mib},
		{"linear", 4*mib + 1, 8 * mib},
		{"coarse", 1, gib},
		{"striped", 4 * mib, 12 * mib},
		{"striped", 12*mib + 1, 24 * mib},
		{"raid1", 1, 16 * mib}, // two images of an extent, and two of metadata
		{"raid1", gib, 2*gib + 8*mib},
		{"thin", 5 * mib, 8 * mib},
		{"linear", 0, 0},
	} {
		class, err := classes.Named(row.class)
		require.NoError(t, err)
		got, err := class.Charge(row.size)
		require.NoError(t, err)
		require.Equal(t, row.charge, got, "%s %d", row.class, row.size)
	}
}

// What is charged is what LVM takes where the extent is the unit, and never less
// than it takes where the extent is smaller.
func TestChargeIsWhatLVMTakes(t *testing.T) {
	classes, err := driver.ParseClasses([]byte(everyLayout))
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	for _, class := range classes.All() {
		if class.Layout == lvm.Thin {
			continue
		}
		for range 2000 {
			size := random.Int64N(int64(1) << (10 + random.IntN(45)))
			charge, err := class.Charge(size)
			require.NoError(t, err)
			rounded, err := lvm.RoundUp(size, class.Unit) // as a request is
			require.NoError(t, err)
			taken, err := class.Layout.Allocation(rounded, class.Unit, class.Legs)
			require.NoError(t, err)
			require.Equal(t, taken, charge, "%s %d", class.Name, size)
			taken, err = class.Layout.Allocation(rounded, class.Unit/4, class.Legs)
			require.NoError(t, err)
			require.LessOrEqual(t, taken, charge, "%s %d with a small extent", class.Name, size)
		}
	}
}

func TestNoChargeOverflows(t *testing.T) {
	classes, err := driver.ParseClasses([]byte(everyLayout))
	require.NoError(t, err)
	for _, class := range classes.All() {
		for _, size := range []int64{-1, math.MinInt64, lvm.MaxSize, math.MaxInt64} {
			_, err := class.Charge(size)
			require.ErrorContains(t, err, "must be from 0", "%s %d", class.Name, size)
		}
	}
}
