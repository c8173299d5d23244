// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorded is a step and what real lvm2 made of it.
type recorded struct {
	Step    step
	Outcome outcome
}

// recordedDisks are the disks of the machines on which testdata was recorded.
var recordedDisks = []string{"/dev/ubdb", "/dev/ubdc", "/dev/ubdd"}

const recordedSize = 2 << 30 // bytes of each of them

// TestRecordedDifferential does on the fake what was once done on real lvm2, and
// compares: the differential test for machines that have no device-mapper. The
// recordings are made by TestDifferential with -differential.record; one that is
// not in testdata can be named in DIFFERENTIAL_RECORDING.
func TestRecordedDifferential(t *testing.T) {
	files, err := filepath.Glob("testdata/differential-*.jsonl.gz")
	require.NoError(t, err)
	if more := os.Getenv("DIFFERENTIAL_RECORDING"); more != "" {
		files = []string{more}
	}
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := os.Open(name)
			require.NoError(t, err)
			defer f.Close()
			zipped, err := gzip.NewReader(f)
			require.NoError(t, err)
			fake, err := newFake(recordedDisks, recordedSize)
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
