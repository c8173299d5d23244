// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

const mib = int64(1) << 20

func TestRoundUp(t *testing.T) {
	for _, c := range []struct{ size, unit, want int64 }{
		{0, 4 * mib, 0},
		{1, 4 * mib, 4 * mib},
		{4*mib - 1, 4 * mib, 4 * mib},
		{4 * mib, 4 * mib, 4 * mib},
		{4*mib + 1, 4 * mib, 8 * mib},
		{7, 1, 7},
		{MaxSize, 1 << 32, MaxSize}, // it is the largest multiple of 4 GiB
		{MaxSize - 1, 1 << 32, MaxSize},
	} {
		got, err := RoundUp(c.size, c.unit)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%d to %d", c.size, c.unit)
	}
	for _, c := range []struct{ size, unit int64 }{
		{-1, 1}, {math.MinInt64, 1}, {MaxSize + 1, 1}, {math.MaxInt64, 4 * mib}, {1, 0}, {1, -4}, {1, 1<<32 + 1},
	} {
		_, err := RoundUp(c.size, c.unit)
		require.ErrorIs(t, err, ErrInvalid, "%d to %d", c.size, c.unit)
	}
}

func TestRoundDown(t *testing.T) {
	for _, c := range []struct{ size, unit, want int64 }{
		{-5, 4, 0}, {0, 4, 0}, {3, 4, 0}, {4, 4, 4}, {7, 4, 4}, {math.MaxInt64, 2, math.MaxInt64 - 1},
	} {
		require.Equal(t, c.want, RoundDown(c.size, c.unit))
	}
}

func FuzzRoundUp(f *testing.F) {
	f.Add(int64(1), int64(4<<20))
	f.Add(int64(MaxSize), int64(1<<32))
	f.Add(int64(math.MaxInt64), int64(512))
	f.Fuzz(func(t *testing.T, size, unit int64) {
		got, err := RoundUp(size, unit)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			require.False(t, size >= 0 && size <= MaxSize && unit > 0 && unit <= 1<<32, "a size in range is refused")
			return
		}
		require.GreaterOrEqual(t, got, size)
		require.Less(t, got-size, unit)
		require.Zero(t, got%unit)
		require.Equal(t, got, RoundDown(got, unit))
	})
}

func TestAllocation(t *testing.T) {
	for _, c := range []struct {
		layout Layout
		size   int64
		legs   int
		want   int64
	}{
		{Linear, 1, 0, 4 * mib},
		{Linear, 10 * mib, 0, 12 * mib},
		{Striped, 1, 2, 8 * mib},
		{Striped, 9 * mib, 2, 16 * mib},
		{Striped, 16 * mib, 3, 24 * mib},
		{RAID1, 1, 2, 16 * mib},          // 2 × (1 + 1 extents)
		{RAID1, 10 * mib, 2, 32 * mib},   // 2 × (3 + 1)
		{RAID1, 10 * mib, 10, 160 * mib}, // 10 × (3 + 1)
		{Thin, 1 << 50, 0, 0},
	} {
		got, err := c.layout.Allocation(c.size, 4*mib, c.legs)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%s of %d in %d", c.layout, c.size, c.legs)
	}
	for _, c := range []struct {
		layout Layout
		size   int64
		legs   int
	}{
		{Striped, 1, 1},
		{Striped, 1, 129},
		{RAID1, 1, 1},
		{RAID1, 1, 11},
		{"", 1, 1},
		{"raid6", 1, 4},
		{Striped, MaxSize, 2},
		{RAID1, MaxSize, 2},
		{Linear, -1, 0},
		{RAID1, -1, 2},
		{Striped, -1, 2},
	} {
		_, err := c.layout.Allocation(c.size, 4*mib, c.legs)
		require.ErrorIs(t, err, ErrInvalid, "%+v", c)
	}
}

func FuzzAllocation(f *testing.F) {
	f.Add(int64(1), uint8(22), 2)
	f.Add(int64(MaxSize), uint8(32), 10)
	f.Add(int64(math.MaxInt64), uint8(12), 128)
	f.Fuzz(func(t *testing.T, size int64, shift uint8, legs int) {
		extent := int64(1) << (shift % 33)
		for layout, copies := range map[Layout]int64{Linear: 1, Striped: 1, RAID1: int64(legs)} {
			got, err := layout.Allocation(size, extent, legs)
			if err != nil {
				require.ErrorIs(t, err, ErrInvalid)
				continue
			}
			require.Zero(t, got%extent, "whole extents")
			require.GreaterOrEqual(t, got/copies, size, "no room for its bytes")
			// One extent less in each leg could not hold it.
			legs := int64(max(legs, 1))
			switch layout {
			case Linear:
				require.Less(t, got-extent, max(size, 1))
			case Striped:
				require.Zero(t, got/extent%legs, "whole stripes")
				require.Less(t, got-legs*extent, max(size, 1))
			case RAID1:
				require.Less(t, got/legs-2*extent, max(size, 1))
			}
			more, err := layout.Allocation(size, extent, int(legs))
			require.NoError(t, err)
			require.Equal(t, got, more)
		}
	})
}

func TestSizeArgument(t *testing.T) {
	for size, want := range map[int64]string{1: "512b", 511: "512b", 512: "512b", 513: "1024b", 4 * mib: "4194304b", MaxSize: "9223372032559808512b"} {
		require.Equal(t, want, sizeArg(size))
	}
}

func TestLayoutDefaultsToLinear(t *testing.T) {
	require.Equal(t, Linear, Spec{}.layout())
	require.Equal(t, Thin, Spec{Layout: Thin}.layout())
	require.False(t, errors.Is(ErrInvalid, ErrNoSpace))
}
