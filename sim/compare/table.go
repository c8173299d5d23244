// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/podlv/podlv/sim/report"
)

// Column is a variant with the reports of its runs, one for each seed.
type Column struct {
	Variant Variant          `json:"-"`
	Name    string           `json:"name"`
	Reports []*report.Report `json:"reports"`
}

// spread is the values of a figure in the runs of a variant.
type spread struct{ least, median, most float64 }

func spreadOf(values []float64) spread {
	slices.Sort(values)
	return spread{values[0], values[len(values)/2], values[len(values)-1]}
}

// String is the median, and between which bounds the others are, if they differ.
func (s spread) String() string {
	if s.least == s.most {
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s to %s)", number(s.median), number(s.least), number(s.most))
}

func number(n float64) string { return strconv.FormatFloat(math.Round(n*1000)/1000, 'f', -1, 64) }

// figures are those of a report, by their names in expectations.
func figures(r *report.Report) (map[string]float64, error) {
	data, err := json.Marshal(r.Metrics)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	flat := map[string]float64{}
	flatten("", all, flat)
	flat["seconds"] = r.Seconds()
	held := 0.0
	for _, e := range r.Expectations {
		if e.Held {
			held++
		}
	}
	flat["expectations held"] = held
	return flat, nil
}

// flatten takes up the numbers of an object, also of those in it. What a run could not
// know is not there.
func flatten(prefix string, object map[string]any, into map[string]float64) {
	for name, value := range object {
		switch v := value.(type) {
		case float64:
			into[prefix+name] = v
		case map[string]any:
			flatten(prefix+name+".", v, into)
		}
	}
}

// Table writes the figures of all columns, the medians over their seeds with the
// spread; only those figures that differ, unless all are asked for.
func Table(w io.Writer, columns []Column, all bool) error {
	rows := map[string][]string{}
	for i, c := range columns {
		values := map[string][]float64{}
		for _, r := range c.Reports {
			f, err := figures(r)
			if err != nil {
				return err
			}
			for name, n := range f {
				values[name] = append(values[name], n)
			}
		}
		for name, list := range values {
			if rows[name] == nil {
				rows[name] = make([]string, len(columns))
			}
			rows[name][i] = spreadOf(list).String()
		}
	}
	out := &strings.Builder{}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for i, c := range columns {
		fmt.Fprintf(out, "%c  %s, %d runs\n", 'A'+rune(i), c.Name, len(c.Reports))
	}
	fmt.Fprintln(out)
	head := "figure"
	for i := range columns {
		head += fmt.Sprintf("\t%c", 'A'+rune(i))
	}
	fmt.Fprintln(t, head+"\t")
	same := 0
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		cells := rows[name]
		if !all && !slices.ContainsFunc(cells, func(c string) bool { return c != cells[0] }) {
			same++
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t\n", name, strings.Join(cells, "\t"))
	}
	_ = t.Flush() // into memory
	if same > 0 {
		fmt.Fprintf(out, "%d figures are the same in all\n", same)
	}
	_, err := io.WriteString(w, out.String())
	return err
}
