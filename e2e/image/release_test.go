// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// packed is an archive of an image with some files, by path.
func packed(t *testing.T, architecture string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	r := &Rootfs{}
	for path, content := range files {
		source := filepath.Join(dir, filepath.Base(path))
		require.NoError(t, os.WriteFile(source, []byte(content), 0o755))
		require.NoError(t, r.AddAs(source, path))
	}
	archive := filepath.Join(dir, architecture+".tar")
	require.NoError(t, r.WriteFile(archive, Config{Name: "example.org/podlv:1", Entrypoint: []string{"/bin/a"}, Architecture: architecture}))
	return archive
}

func TestImagesOfArchitecturesAreJoined(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "out", "layout")
	amd64, arm64 := packed(t, "amd64", map[string]string{"/bin/a": "one"}), packed(t, "arm64", map[string]string{"/bin/a": "two"})
	require.NoError(t, Join(folder, "example.org/podlv:1", amd64, arm64))

	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		return b
	}
	find := func(d map[string]any) []byte {
		digest := d["digest"].(string)
		b := read("blobs/sha256/" + strings.TrimPrefix(digest, "sha256:"))
		require.Equal(t, digest, fmt.Sprintf("sha256:%x", sha256.Sum256(b)))
		require.EqualValues(t, len(b), d["size"])
		return b
	}
	require.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, string(read("oci-layout")))
	type manifests struct{ Manifests []map[string]any }
	var top, images manifests
	require.NoError(t, json.Unmarshal(read("index.json"), &top))
	require.Len(t, top.Manifests, 1, "which is pushed as it is")
	require.NoError(t, json.Unmarshal(find(top.Manifests[0]), &images))
	var has []string
	for _, m := range images.Manifests {
		var manifest struct {
			Config map[string]any
			Layers []map[string]any
		}
		require.NoError(t, json.Unmarshal(find(m), &manifest))
		require.Len(t, manifest.Layers, 1)
		var config struct {
			Architecture string
			RootFS       struct {
				DiffIDs []string `json:"diff_ids"`
			}
		}
		require.NoError(t, json.Unmarshal(find(manifest.Config), &config))
		require.Equal(t, m["platform"], map[string]any{"architecture": config.Architecture, "os": "linux"})
		layer, err := gzip.NewReader(bytes.NewReader(find(manifest.Layers[0])))
		require.NoError(t, err)
		files, err := io.ReadAll(layer)
		require.NoError(t, err)
		require.Equal(t, []string{fmt.Sprintf("sha256:%x", sha256.Sum256(files))}, config.RootFS.DiffIDs, "a runtime compares them")
		has = append(has, config.Architecture+" "+string(archive(t, files)["bin/a"]))
	}
	require.Equal(t, []string{"amd64 one", "arm64 two"}, has)

	require.ErrorContains(t, Join(filepath.Join(t.TempDir(), "x"), "example.org/podlv:1", amd64, amd64), "are both for amd64")
	require.ErrorContains(t, Join(folder, "example.org/podlv:1", amd64), "exists", "what was there may be of another version")
}

func TestBillOfMaterials(t *testing.T) {
	program := filepath.Join(t.TempDir(), "podlv")
	build := exec.Command("go", "build", "-o", program, "./pack") // any program of this module will do
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	content, err := os.ReadFile(program)
	require.NoError(t, err)
	files := map[string]string{
		"/usr/local/bin/podlv": string(content), "/usr/bin/other": "#!/bin/sh\n",
		"/usr/lib/os-release":           "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n",
		"/var/lib/dpkg/status.d/liblvm": "Package: liblvm2cmd2.03\nSource: lvm2 (2.03)\nVersion: 2:2.03.16-2+b1\nArchitecture: arm64\nDescription: the library\n Version: not this\n",
	}
	text, err := BOM(packed(t, "arm64", files), "ghcr.io/podlv/podlv", "1.2.3")
	require.NoError(t, err)
	var bom struct {
		BOMFormat, SpecVersion, SerialNumber string
		Components                           []component
	}
	require.NoError(t, json.Unmarshal(text, &bom))
	require.Equal(t, "CycloneDX 1.6", bom.BOMFormat+" "+bom.SpecVersion)
	require.Regexp(t, `^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`, bom.SerialNumber)
	has := map[string]component{}
	for _, c := range bom.Components {
		require.NotContains(t, has, c.PURL)
		has[c.PURL] = c
	}
	const own = "pkg:golang/github.com/podlv/podlv@v1.2.3#e2e/image/pack"
	require.Contains(t, has, own)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(content)), has[own].Hashes[0].Content)
	require.Contains(t, has, "pkg:deb/debian/liblvm2cmd2.03@2%3A2.03.16-2%2Bb1?arch=arm64&distro=debian-12&upstream=lvm2")
	std := false
	for purl := range has {
		std = std || strings.HasPrefix(purl, "pkg:golang/stdlib@1.")
	}
	require.True(t, std, "most of what is found in Go programs is in the standard library")

	_, err = BOM(packed(t, "arm64", map[string]string{"/usr/bin/other": "x"}), "x", "1")
	require.ErrorContains(t, err, "0 Debian packages and 0 Go modules")
}
