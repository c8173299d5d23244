// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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
