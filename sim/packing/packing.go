// SPDX-License-Identifier: Apache-2.0

// Package packing says how many bins of one size items need: what no packer can stay
// below, and what a simple one reaches.
//
// There are only the two bounds. An item that is larger than a bin counts as one that
// fills it.
package packing

import "slices"

// prepared are the items that are more than nothing, the largest first.
func prepared(items []int64, bin int64) []int64 {
	var all []int64
	for _, i := range items {
		if i > 0 {
			all = append(all, min(i, bin))
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all
}

// AtLeast is a number of bins that no packing stays below: the bound L2 of Martello and
// Toth (Lower bounds and reduction procedures for the bin packing problem, 1990), which is
// never less than the sum of the items divided by the bin. 0 when there is no bin.
func AtLeast(items []int64, bin int64) int {
	if bin <= 0 {
		return 0
	}
	all := prepared(items, bin)
	sums := make([]int64, len(all)+1)
	for i, x := range all {
		sums[i+1] = sums[i] + x
	}
	// upTo is how many items are larger than a size, for they are sorted.
	largerThan := func(size int64) int {
		n, _ := slices.BinarySearchFunc(all, size, func(x, size int64) int {
			if x > size {
				return -1
			}
			return 1
		})
		return n
	}
	half := largerThan(bin / 2) // of two such items none shares a bin
	if bin%2 == 1 {
		half = largerThan((bin - 1) / 2)
	}
	best := 0
	for i := half; i <= len(all); i++ { // small items are those from the i-th larger ones on
		small := int64(0) // i == len(all): all of them
		end := len(all)
		if i < len(all) {
			small = all[i]
			end = largerThan(small - 1)
		}
		alone := largerThan(bin - small) // nothing that counts fits beside them
		alone = min(alone, half)
		room := int64(half-alone)*bin - (sums[half] - sums[alone])
		rest := sums[end] - sums[half] - room
		bins := half
		if rest > 0 {
			bins += int((rest + bin - 1) / bin)
		}
		best = max(best, bins)
	}
	return best
}

// AtMost is a number of bins that suffices: that of first fit, the largest first, which
// is at most 11/9 of the best and one more. 0 when there is no bin.
func AtMost(items []int64, bin int64) int {
	if bin <= 0 {
		return 0
	}
	var free []int64
	for _, i := range prepared(items, bin) {
		at := slices.IndexFunc(free, func(f int64) bool { return f >= i })
		if at < 0 {
			at = len(free)
			free = append(free, bin)
		}
		free[at] -= i
	}
	return len(free)
}
