// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podlv/podlv/sim/trace"
)

func explainCommand() *cobra.Command {
	out := ""
	cmd := &cobra.Command{
		Use:   "explain POD [SCENARIO]",
		Short: "Show the timeline of a pod of the last run, or of that of a scenario: why it waited, what was made and called for it",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			scenario := ""
			if len(args) == 2 {
				scenario = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(args[1]), ".yaml"), ".yml")
			}
			t, err := recorded(out, scenario)
			if err != nil {
				return err
			}
			pods := t.Find(args[0])
			if len(pods) == 0 {
				return noPod(t, args[0])
			}
			for i, p := range pods {
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				if err := t.Explain(cmd.OutOrStdout(), p); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "out", "folder that the results were written into")
	return cmd
}

// noPod says which pods there are, when there is none of a name.
func noPod(t *trace.Trace, name string) error {
	const most = 5
	if len(t.Pods) == 0 {
		return fmt.Errorf("pod %q: scenario %s made no pods", name, t.Scenario)
	}
	like := strings.Join(t.Like(name, most), ", ")
	if len(t.Pods) > most {
		return fmt.Errorf("pod %q: scenario %s had none of that name, among %d; most like it are %s", name, t.Scenario, len(t.Pods), like)
	}
	return fmt.Errorf("pod %q: scenario %s had none of that name; these it had: %s", name, t.Scenario, like)
}

// recorded is the trace of a scenario's run, or of the last when there is no name.
func recorded(out, scenario string) (*trace.Trace, error) {
	files, err := filepath.Glob(filepath.Join(out, "*", trace.File))
	if err != nil {
		return nil, fmt.Errorf("--out %s: %w", out, err)
	}
	latest, name := int64(0), ""
	var names []string
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			continue // it has just gone
		}
		of := filepath.Base(filepath.Dir(f))
		names = append(names, of)
		if made := info.ModTime().UnixNano(); scenario == "" && made > latest || of == scenario {
			latest, name = made, f
		}
	}
	switch {
	case name != "":
		return trace.ReadFile(name)
	case len(names) == 0:
		return nil, fmt.Errorf("--out %s: no run was recorded there (no %s); run a scenario first: podlv-sim run first-steps", out, filepath.Join("SCENARIO", trace.File))
	}
	return nil, fmt.Errorf("scenario %q: no run of it was recorded in %s; there are %s", scenario, out, strings.Join(names, ", "))
}
