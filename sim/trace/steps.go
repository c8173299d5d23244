// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// steps are those of a pod or a claim: the first, and, when there are too many, the last.
type steps struct {
	first, last []Step
	leftOut     int
}

func (s *steps) add(step Step) {
	if len(s.first) < mostSteps/2 {
		s.first = append(s.first, step)
		return
	}
	if len(s.last) == mostSteps/2 {
		s.last = slices.Delete(s.last, 0, 1)
		s.leftOut++
	}
	s.last = append(s.last, step)
}

// all is the steps in the order of their times.
func (s *steps) all() []Step {
	all := slices.Clone(s.first)
	if s.leftOut > 0 {
		all = append(all, Step{At: s.last[0].At, What: LeftOut, Text: fmt.Sprintf("%d steps", s.leftOut)})
	}
	return append(all, s.last...)
}

// natural compares names so that node-10 is after node-9.
func natural(a, b string) int {
	prefix := func(s string) (string, string) {
		stem := strings.TrimRight(s, "0123456789")
		return stem, s[len(stem):]
	}
	stemA, numberA := prefix(a)
	stemB, numberB := prefix(b)
	return cmp.Or(cmp.Compare(stemA, stemB), cmp.Compare(len(numberA), len(numberB)), cmp.Compare(numberA, numberB))
}
