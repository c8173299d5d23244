// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What crun 1.8 says of containers, and what containerd is to read.
func TestRuntimeSaysWhatContainerdKnows(t *testing.T) {
	bin := t.TempDir()
	for name, text := range map[string]string{
		"busybox": "#!/bin/sh\nexec \"$@\"\n",
		"crun": `#!/bin/sh
case $* in
"--root /r kill gone 9") echo 'error opening file ` + "`/r/gone/status`" + `: No such file or directory' >&2; exit 1 ;;
"--root /r delete gone") echo "cannot open directory '/r/gone': No such file or directory" >&2; exit 1 ;;
"--root /r kill stuck 9") echo 'kill container: Operation not permitted' >&2; exit 1 ;;
"--root /r delete here") ;;
"--root /r create --bundle "*" --pid-file p new") echo made ;;
"--root /r exec here kill 1") echo done ;;
*) echo "what: $*" >&2; exit 3 ;;
esac
`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755))
	}
	config := filepath.Join(bin, "config.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"ociVersion":"1.3.0","root":{}}`), 0o644))
	for _, row := range []struct {
		args []string
		code int
		out  string
		said string
	}{
		{[]string{"kill", "gone", "9"}, 1, "", "error opening file `/r/gone/status`: No such file or directory\nthe container does not exist\n"},
		{[]string{"delete", "gone"}, 1, "", "cannot open directory '/r/gone': No such file or directory\nthe container does not exist\n"},
		{[]string{"kill", "stuck", "9"}, 1, "", "kill container: Operation not permitted\n"},
		{[]string{"delete", "here"}, 0, "", ""},
		{[]string{"create", "--bundle", bin, "--pid-file", "p", "new"}, 0, "made\n", ""},
		{[]string{"exec", "here", "kill", "1"}, 0, "done\n", ""},
	} {
		cmd := exec.Command("/bin/sh", append([]string{"-c", runtimeScript, "runtime", "--root", "/r"}, row.args...)...)
		cmd.Env = []string{"PATH=" + bin + ":/bin:/usr/bin"}
		var out, said strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &said
		_ = cmd.Run()
		require.Equal(t, row.out, out.String(), row.args)
		require.Equal(t, row.said, said.String(), row.args)
		require.Equal(t, row.code, cmd.ProcessState.ExitCode(), row.args)
	}
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	require.Equal(t, `{"ociVersion":"1.0.2","root":{}}`, string(text))
}
