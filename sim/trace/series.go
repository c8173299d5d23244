// SPDX-License-Identifier: Apache-2.0

package trace

import "slices"

// sample is values at a time.
type sample struct {
	at     int64
	values []int64
}

// series is samples over time, each of which holds until the next. It keeps about most
// of them, 4 or more.
type series struct {
	most    int
	peak    func(values []int64) int64 // which of two samples is to stay
	samples []sample
}

// add takes up the values at a time, which are then the series' own. What has not changed
// is not kept, and of one time only the last.
func (s *series) add(at int64, values []int64) {
	n := len(s.samples)
	switch {
	case n > 0 && slices.Equal(s.samples[n-1].values, values):
		return
	case n > 0 && s.samples[n-1].at == at:
		s.samples[n-1].values = values
		return
	}
	s.samples = append(s.samples, sample{at, values})
	if len(s.samples) > s.most {
		s.thin()
	}
}

// thin leaves one of each two neighbours, the higher, but for the first and the last.
func (s *series) thin() {
	n := len(s.samples)
	kept := s.samples[:1:n]
	i := 1
	for ; i+1 < n-1; i += 2 {
		a, b := s.samples[i], s.samples[i+1]
		if s.peak(b.values) > s.peak(a.values) {
			a = b
		}
		kept = append(kept, a)
	}
	kept = append(kept, s.samples[i:]...)
	clear(s.samples[len(kept):])
	s.samples = kept
}

// times are those of the samples.
func (s *series) times() []int64 {
	all := make([]int64, len(s.samples))
	for i, x := range s.samples {
		all[i] = x.at
	}
	return all
}

// column is one value of all samples; nil if it is nothing throughout.
func (s *series) column(i int, nothing int64) []int64 {
	all := make([]int64, len(s.samples))
	some := false
	for j, x := range s.samples {
		all[j] = nothing
		if i < len(x.values) {
			all[j] = x.values[i]
		}
		some = some || all[j] != nothing
	}
	if !some {
		return nil
	}
	return all
}
