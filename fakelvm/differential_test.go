// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package fakelvm_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm/lvmtest"
	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

var (
	realDisks            = flag.String("lvm.disks", "", "empty disks, by commas; what is on them is lost")
	differentialCommands = flag.Int("differential.commands", 500, "how many commands the differential test runs; 0: none")
	differentialSeed     = flag.Uint64("differential.seed", 4, "seed of the differential test; 0: another each time")
	differentialRecord   = flag.String("differential.record", "", "write what the real machine did to this file of folder out, and do not stop at a difference")
)

// TestDifferential does the same random steps on real lvm2 and on the fake and
// compares all of LVM after each step. Other exit statuses, other classes of error,
// other bytes and other reports fail it. Other words are told, and do not: lvm2 has
// more of them than a fake needs. On the recorded sessions they must agree too.
func TestDifferential(t *testing.T) {
	if *differentialCommands == 0 {
		t.Skip("-differential.commands=0")
	}
	require.NotEmpty(t, *realDisks, "run this through make test-differential: no -lvm.disks")
	disks := strings.Split(*realDisks, ",")
	seed := *differentialSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	again := fmt.Sprintf("go run ./lvm/lvmtest/microvm/test-lvm -run TestDifferential ./fakelvm -- -differential.seed=%d -differential.commands=%d", seed, *differentialCommands)
	t.Logf("seed %d; the same again: %s", seed, again)

	real, err := newSide(lvmtest.RealMachine(t, disks))
	require.NoError(t, err)
	fake, err := newFake(disks, deviceSize(t, disks[0]))
	require.NoError(t, err)
	t.Cleanup(func() { clean(real) })
	var record *json.Encoder
	if *differentialRecord != "" {
		name := filepath.Join(microvm.Share(), "out", filepath.Base(*differentialRecord)) // test-lvm copies it
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		f, err := os.Create(name)
		require.NoError(t, err)
		zipped := gzip.NewWriter(f)
		defer f.Close()
		defer zipped.Close()
		out := bufio.NewWriter(zipped)
		defer out.Flush()
		record = json.NewEncoder(out)
	}

	g := newGenerator(seed, disks)
	done := map[string]int{}
	var history []string
	for i := range *differentialCommands {
		st := g.step()
		want := real.run(st)
		g.look(want.Report)
		g.done(st, want)
		history = append(history, st.String())
		if want.Code == 0 && want.Class == "" {
			done[st.Do+" succeeded"]++
		} else {
			done[st.Do+" failed"]++
		}
		if record != nil {
			require.NoError(t, record.Encode(recorded{st, want}))
			continue
		}
		deeds, words := difference(want, fake.run(st))
		if words != "" {
			done["in other words"]++
			t.Logf("step %d: the fake says it in other words\n%s\n%s", i+1, st, words)
		}
		if deeds != "" {
			for _, h := range history[max(0, len(history)-15):] {
				t.Log(h)
			}
			t.Fatalf("step %d of seed %d: the machines differ\n%s\n%s\nagain: %s", i+1, seed, st, deeds, again)
		}
	}
	t.Logf("%d steps: %v", *differentialCommands, done)
}

func deviceSize(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Seek(0, 2)
	require.NoError(t, err)
	return size
}

// clean leaves nothing on the real machine.
func clean(real *side) {
	for _, d := range real.held {
		_ = d.Close()
	}
	for _, show := range real.hidden {
		_ = show()
	}
	for _, vg := range []string{"vga", "vgb"} {
		real.run(step{Do: "lvm", Args: []string{"vgreduce", "--removemissing", "--force", "--yes", vg}})
		real.run(step{Do: "lvm", Args: []string{"vgremove", "--yes", "-ff", vg}})
	}
	real.run(step{Do: "lvm", Args: append([]string{"pvremove", "--yes", "-ff"}, real.Disks...)})
}
