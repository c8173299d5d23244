// SPDX-License-Identifier: Apache-2.0

package packing

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBounds(t *testing.T) {
	for _, row := range []struct {
		items         []int64
		bin           int64
		least, atMost int
	}{
		{nil, 10, 0, 0},
		{[]int64{0, 0}, 10, 0, 0},
		{[]int64{10}, 0, 0, 0},
		{[]int64{10, 10, 10}, 10, 3, 3},
		{[]int64{11}, 10, 1, 1},
		{[]int64{6, 6, 6}, 10, 3, 3}, // the sum alone says 2
		{[]int64{5, 5, 5}, 10, 2, 2},
		{[]int64{6, 6, 4, 4, 4}, 10, 3, 3},
		{[]int64{7, 7, 4, 4}, 10, 3, 3}, // nothing of 4 fits beside 7: the sum says 3, too
		{[]int64{7, 7, 7, 4}, 10, 4, 4}, // here it says 3
		{[]int64{3, 3, 3}, 10, 1, 1},
		{[]int64{4, 4, 4, 3, 3, 3, 3, 3, 3}, 10, 3, 4}, // (4,3,3) three times, which the simple packer misses
		{[]int64{5, 5}, 9, 2, 2},
	} {
		require.Equal(t, row.least, AtLeast(row.items, row.bin), "%v in %d", row.items, row.bin)
		require.Equal(t, row.atMost, AtMost(row.items, row.bin), "%v in %d", row.items, row.bin)
	}
}

// best is the fewest bins, by trying everything.
func best(items []int64, bin int64) int {
	most := len(items)
	var place func(i int, free []int64)
	place = func(i int, free []int64) {
		if len(free) >= most && i < len(items) {
			return
		}
		if i == len(items) {
			most = min(most, len(free))
			return
		}
		for b := range free {
			if free[b] >= items[i] {
				next := slices.Clone(free)
				next[b] -= items[i]
				place(i+1, next)
			}
		}
		place(i+1, append(slices.Clone(free), bin-items[i]))
	}
	place(0, nil)
	return most
}

func TestTheBestIsBetweenTheBounds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		bin := 2 + random.Int64N(20)
		items := make([]int64, random.IntN(8))
		sum := int64(0)
		for i := range items {
			items[i] = 1 + random.Int64N(bin)
			sum += items[i]
		}
		exact := best(items, bin)
		require.LessOrEqual(t, AtLeast(items, bin), exact, "%v in %d", items, bin)
		require.GreaterOrEqual(t, AtMost(items, bin), exact, "%v in %d", items, bin)
		require.GreaterOrEqual(t, int64(AtLeast(items, bin))*bin, sum, "%v in %d", items, bin)
	}
}
