// SPDX-License-Identifier: Apache-2.0

package importer_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/sim/importer"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s"}}]
contexts: [{name: work, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
`

func TestConnect(t *testing.T) {
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"major":"1","minor":"36","gitVersion":"v1.36.3"}`)
	}))
	defer good.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	_, err = importer.Connect(file("good", fmt.Sprintf(kubeconfig, good.URL)), "work")
	require.NoError(t, err)
	for name, row := range map[string]struct {
		file, context string
		says          []string
	}{
		"no such file":               {filepath.Join(dir, "none"), "", []string{"none: there is no such file"}},
		"a file that is none":        {file("text", "hello: [\n"), "", []string{"text: this is no kubeconfig"}},
		"another YAML file":          {file("other", "a: 1\n"), "", []string{"other: this is no kubeconfig, or an empty one"}},
		"no such context":            {filepath.Join(dir, "good"), "home", []string{`--context "home"`, "has no such context; it has work"}},
		"no current context":         {filepath.Join(dir, "good"), "", []string{"it has no current context; name one with --context: work"}},
		"a server that is not there": {file("closed", fmt.Sprintf(kubeconfig, closed)), "work", []string{closed, "connection refused", "check that it runs, that this machine can reach it"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := importer.Connect(row.file, row.context)
			for _, s := range row.says {
				require.ErrorContains(t, err, s)
			}
		})
	}
}
