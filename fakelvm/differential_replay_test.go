// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// recorded is a step and what real lvm2 made of it.
type recorded struct {
	Step    step
	Outcome outcome
}

// recordedDisks are the disks of the machines on which testdata was recorded, and
// how many bytes each had.
var recordedDisks = map[string]struct {
	paths []string
	size  int64
}{
	"differential-4.jsonl.gz":     {[]string{"/dev/ubdb", "/dev/ubdc", "/dev/ubdd"}, 2 << 30},
	"differential-5.jsonl.gz":     {[]string{"/dev/ubdb", "/dev/ubdc", "/dev/ubdd"}, 2 << 30},
	"differential-4-4g.jsonl.gz":  {[]string{"/dev/ubdb", "/dev/ubdc", "/dev/ubdd", "/dev/ubde"}, 4 << 30},
	"differential-9-4g.jsonl.gz":  {[]string{"/dev/ubdb", "/dev/ubdc", "/dev/ubdd", "/dev/ubde"}, 4 << 30},
	"differential-10-4g.jsonl.gz": {[]string{"/dev/ubdb", "/dev/ubdc", "/dev/ubdd", "/dev/ubde"}, 4 << 30},
	"differential-12-4g.jsonl.gz": {[]string{"/dev/ubdb", "/dev/ubdc", "/dev/ubdd", "/dev/ubde"}, 4 << 30},
}

// asRecorded gives the client's commands the settings that they had when the sessions were
// recorded: the VG's metadata has the command line in it, and its length decides what is
// free of the metadata area.
type asRecorded struct{ lvm.Runner }

func (r asRecorded) Run(ctx context.Context, args ...string) ([]byte, error) {
	then := slices.Clone(args)
	for i, a := range then {
		then[i] = strings.Replace(a, "udev_rules=1 verify_udev_operations=1", "udev_rules=0", 1)
	}
	return r.Runner.Run(ctx, then...)
}

// TestRecordedDifferential does on the fake what was once done on real lvm2, and
// compares: the differential test for machines that have no device-mapper. The
// recordings are made by TestDifferential with -differential.record; a folder of
// others can be named in DIFFERENTIAL_RECORDINGS.
func TestRecordedDifferential(t *testing.T) {
	t.Parallel()
	dir := "testdata"
	if d := os.Getenv("DIFFERENTIAL_RECORDINGS"); d != "" {
		dir = d
	}
	files, err := filepath.Glob(filepath.Join(dir, "differential-*.jsonl.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	if racing {
		files = files[len(files)-2 : len(files)-1] // the shortest; make test-enumerations plays all of them
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := os.Open(name)
			require.NoError(t, err)
			defer f.Close()
			zipped, err := gzip.NewReader(f)
			require.NoError(t, err)
			disks, ok := recordedDisks[filepath.Base(name)]
			require.True(t, ok, "say in recordedDisks on what it was recorded")
			fake, err := newFake(disks.paths, disks.size)
			require.NoError(t, err)
			fake.client, err = lvm.NewClient(asRecorded{fake.Runner}, "podlv.dev")
			require.NoError(t, err)
			in := json.NewDecoder(zipped)
			for i := 1; ; i++ {
				var r recorded
				err := in.Decode(&r)
				if errors.Is(err, io.EOF) {
					require.Greater(t, i, 400, "the recording is short")
					return
				}
				require.NoError(t, err)
				got := fake.run(r.Step)
				if deeds, words := difference(r.Outcome, got); deeds+words != "" {
					t.Errorf("step %d: the fake is not as real lvm2 was\n%s\n%s%s", i, r.Step, deeds, words)
				}
				if got.Report != r.Outcome.Report {
					t.FailNow() // from here on all would differ
				}
			}
		})
	}
}
