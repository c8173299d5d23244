// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a person who makes a mistake at the command line reads.
func TestMistakesAreNamed(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	require.NoError(t, os.WriteFile(good, []byte("pools: [{name: ssd, volumeGroup: vg0}]\nclasses: [{name: a, pool: ssd, default: true}]\n"), 0o600))
	require.NoError(t, os.WriteFile(bad, []byte("pools: [{name: ssd, volumeGroup: vg0, reserv: 1Gi}]\nclasses: [{name: a, pool: hdd, default: ture}]\n"), 0o600))
	for name, row := range map[string]struct {
		args   []string
		status int
		words  []string
	}{
		"no node name":         {[]string{"node"}, 1, []string{`required flag(s) "node-name" not set`}},
		"no such file":         {[]string{"node", "--node-name=n", "--config=/no/such/file"}, 1, []string{"/no/such/file: no such file"}},
		"a bad file":           {[]string{"node", "--node-name=n", "--config=" + bad}, 1, []string{`unknown field "pools[0].reserv"`, `"hdd": no such pool`, `"ture": must be true or false`}},
		"no Kubernetes":        {[]string{"node", "--node-name=n", "--config=" + good}, 1, []string{"reach the Kubernetes API", "use --kubeconfig, or --standalone"}},
		"an unsafe reaper":     {[]string{"node", "--node-name=n", "--config=" + good, "--standalone", "--reaper-passes=1"}, 1, []string{"must be at least 2"}},
		"an unknown log level": {[]string{"node", "--node-name=n", "--config=" + good, "--log-level=loud"}, 1, []string{`--log-level "loud": must be debug, info, warn or error`}},
		"an unknown command":   {[]string{"nod"}, 1, []string{`unknown command "nod"`}},
		"a StorageClass twice": {[]string{"policies", "--config=" + good, "--storage-class=x=a", "--storage-class=x"}, 1, []string{`--storage-class x: "x" is there already`}},
		"an unknown class":     {[]string{"policies", "--config=" + good, "--storage-class=x=b"}, 1, []string{`StorageClass "x"`, `class "b": unknown`}},
		"adopt what for":       {[]string{"adopt", "vg0/x", "--node-name=n"}, 1, []string{`required flag(s) "claim", "storage-class" not set`}},
		"adopt from elsewhere": {[]string{"adopt", "vg9/x", "--node-name=n", "--claim=a/b", "--storage-class=s", "--config=" + good}, 1, []string{`no pool of this node is on VG "vg9"; there are vg0`}},
		"policies":             {[]string{"policies", "--config=" + good, "--storage-class=x", "--default-storage-class=x"}, 0, []string{"kind: MutatingAdmissionPolicy\n", "podlv.dev/storage-classes: '*x='", "podlv-pool-ssd"}},
		"checked and bad":      {[]string{"check-config", bad}, 1, []string{`unknown field "pools[0].reserv"`}},
		"checked and good":     {[]string{"check-config", good}, 0, []string{"good.yaml: ok"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.Equal(t, row.status, run(context.Background(), row.args, &out, &out), "%s", out.String())
			for _, w := range row.words {
				require.Contains(t, out.String(), w)
			}
		})
	}
}
