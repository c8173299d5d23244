// SPDX-License-Identifier: Apache-2.0

//go:build conformance

package conformance

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/e2e/conformance/cases"
)

var (
	realFile = flag.String("conformance.real", "", "the recording of a real kubelet, of e2e/conformance; without it nothing is compared")
	fakeFile = flag.String("conformance.fake", "", "keep the recording of the fake kubelet in this file, or take it from there with -conformance.replay")
	fakeLog  = flag.String("conformance.log", "", "what the fake kubelet logs goes to this file")
	replay   = flag.Bool("conformance.replay", false, "do not run the fake kubelet; take its recording from -conformance.fake")
)

func TestTheFakeKubeletMakesTheCallsOfARealOne(t *testing.T) {
	if *realFile == "" && *fakeFile == "" {
		t.Fatal("there is nothing to compare with: make sim-conformance makes it")
	}
	fake := fakeRecording(t)
	if *realFile == "" {
		t.Logf("%d calls of the fake kubelet are in %s", len(fake.Calls), *fakeFile)
		return
	}
	compare(t, load(t, *realFile), fake)
}

func fakeRecording(t *testing.T) cases.Recording {
	if *replay {
		return load(t, *fakeFile)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	r, err := cases.Run(ctx, newFakeNode(t), t.Logf)
	require.NoError(t, err)
	if *fakeFile != "" {
		text, err := json.MarshalIndent(r, "", " ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(*fakeFile, text, 0o600))
	}
	return r
}

func load(t *testing.T, file string) (r cases.Recording) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &r))
	return r
}

// compare fails the test for every difference that is not known, and for every known
// one that is none any more.
func compare(t *testing.T, real, fake cases.Recording) {
	r, f := tell(real), tell(fake)
	found := differences(r, f)
	met := map[string]bool{}
	for _, d := range found {
		if reason, is := known[d.where]; is {
			met[d.where] = true
			t.Logf("known: %s: %s\n  %s", d.where, reason, d.what)
			continue
		}
		t.Errorf("%s: %s", d.where, d.what)
	}
	for where, reason := range known {
		if !met[where] {
			t.Errorf("%s: the two do the same now, but a difference is listed: %s", where, reason)
		}
	}
	table(r, f, found)
}

// table prints how many calls there were in each case, and whether they were the same.
func table(real, fake *story, found []difference) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "case\treal\tfake\t")
	for _, phase := range cases.Phases() {
		for _, c := range phase {
			result := "same"
			for _, d := range found {
				if d.where != c.Name && !strings.HasPrefix(d.where, c.Name+"/") && !strings.HasPrefix(d.where, c.Name+"-") {
					continue
				}
				if _, is := known[d.where]; is {
					result = "listed: " + d.where
				} else {
					result = "DIFFERENT: " + d.where
					break
				}
			}
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", c.Name, real.calls[c.Name], fake.calls[c.Name], result)
		}
	}
	_ = w.Flush()
}
