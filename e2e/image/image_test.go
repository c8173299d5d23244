// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// archive is the files of an archive by name.
func archive(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		files[h.Name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
}

func TestSameFilesGiveSameArchive(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755))
	pack := func() []byte {
		r := &Rootfs{}
		r.AddFolder("/tmp", 0o777|fs.ModeSticky)
		r.AddLink("/etc/mtab", "/proc/mounts")
		require.NoError(t, r.AddAs(file, "/usr/bin/script"))
		var b bytes.Buffer
		require.NoError(t, r.Write(&b, Config{Name: "x:1", Entrypoint: []string{"/usr/bin/script"}}))
		return b.Bytes()
	}
	first := pack()
	require.NoError(t, os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)))
	require.Equal(t, first, pack())

	files := archive(t, first)
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	require.NoError(t, json.Unmarshal(files["manifest.json"], &manifest))
	require.Equal(t, []string{"x:1"}, manifest[0].RepoTags)
	require.Contains(t, files, manifest[0].Config)
	layer := archive(t, files[manifest[0].Layers[0]])
	require.Equal(t, "#!/bin/sh\n", string(layer["usr/bin/script"]))
	require.Contains(t, layer, "usr/bin/")
	require.Contains(t, layer, "tmp/")
	require.Contains(t, layer, "etc/mtab")

	// The same by OCI's way.
	type descriptor struct {
		MediaType, Digest string
		Size              int
		Annotations       map[string]string
	}
	content := func(d descriptor, v any) {
		t.Helper()
		data, ok := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		require.True(t, ok, d.Digest)
		require.Len(t, data, d.Size)
		require.Equal(t, d.Digest, fmt.Sprintf("sha256:%x", sha256.Sum256(data)))
		if v != nil {
			require.NoError(t, json.Unmarshal(data, v))
		}
	}
	require.JSONEq(t, `{"imageLayoutVersion":"1.0.0"}`, string(files["oci-layout"]))
	var index struct{ Manifests []descriptor }
	require.NoError(t, json.Unmarshal(files["index.json"], &index))
	require.Equal(t, map[string]string{"io.containerd.image.name": "x:1", "org.opencontainers.image.ref.name": "1"}, index.Manifests[0].Annotations)
	var parts struct {
		Config descriptor
		Layers []descriptor
	}
	content(index.Manifests[0], &parts)
	var config struct {
		Architecture string
		Rootfs       struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	content(parts.Config, &config)
	content(parts.Layers[0], nil)
	require.Equal(t, []string{parts.Layers[0].Digest}, config.Rootfs.DiffIDs)
	require.Equal(t, runtime.GOARCH, config.Architecture)
}

func TestATreeIsAddedAsItIs(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "usr", "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "usr", "bin", "x"), []byte("x"), 0o750))
	require.NoError(t, os.Symlink("usr/bin", filepath.Join(dir, "bin")))
	r := &Rootfs{}
	require.NoError(t, r.AddTree(dir))
	var b bytes.Buffer
	require.NoError(t, r.writeLayer(&b))
	layer := archive(t, b.Bytes())
	require.Len(t, layer, 4)
	require.Equal(t, "x", string(layer["usr/bin/x"]))
	require.Contains(t, layer, "bin")
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	require.ErrorContains(t, (&Rootfs{}).AddTree(dir), "neither a file, a folder nor a link")
}

func TestMissingProgramsAreAllNamed(t *testing.T) {
	err := (&Rootfs{}).AddPrograms("no-such-a", "sh", "no-such-b")
	require.EqualError(t, err, "programs for an image are not here: no-such-a, no-such-b")
}

func TestLinksAreKeptAndTheirTargetsAdded(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "real", "program-2"), []byte("x"), 0o755))
	require.NoError(t, os.Symlink("program-2", filepath.Join(dir, "real", "program")))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "folder")))
	r := &Rootfs{}
	require.NoError(t, r.Add(filepath.Join(dir, "folder", "program")))
	in := func(name string) entry { return r.entries[dir[1:]+"/"+name] }
	require.Equal(t, "real", in("folder").link)
	require.Equal(t, "program-2", in("real/program").link)
	require.Equal(t, filepath.Join(dir, "real", "program-2"), in("real/program-2").source)
	require.NotContains(t, r.entries, dir[1:]+"/folder/program")
}

// A library that is missing would show here: the programs run with nothing but
// the image's files.
func TestProgramsRunOnTheirImageAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chroot needs root")
	}
	r := &Rootfs{}
	if err := r.AddPrograms("lvm", "mkfs.ext4", "mount", "sh"); err != nil {
		t.Skip(err)
	}
	root := t.TempDir()
	var layer bytes.Buffer
	require.NoError(t, r.writeLayer(&layer))
	unpack := exec.Command("tar", "-xf", "-", "-C", root)
	unpack.Stdin = &layer
	out, err := unpack.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, command := range [][]string{{"lvm", "version"}, {"mkfs.ext4", "-V"}, {"mount", "--version"}, {"sh", "-c", "exit 0"}} {
		path, err := lookUp(command[0])
		require.NoError(t, err)
		cmd := &exec.Cmd{Path: path, Args: command, Dir: "/", SysProcAttr: &syscall.SysProcAttr{Chroot: root}}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && command[0] == "lvm" {
			require.Contains(t, string(out), "LVM version", "lvm cannot ask a kernel without device-mapper, but it runs")
			continue
		}
		require.NoError(t, err, string(out))
	}
}
