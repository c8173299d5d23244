// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
)

// Config is what an image says about itself.
type Config struct {
	Name       string   // "podlv.dev/podlv:demo"
	Entrypoint []string // program and first arguments
	Command    []string // further arguments, in place of which a container can give others
}

// Write packs the files as an image of one layer, in the form of "docker save":
// the layer, its configuration and manifest.json.
func (r *Rootfs) Write(w io.Writer, c Config) error {
	var layer bytes.Buffer
	if err := r.writeLayer(&layer); err != nil {
		return fmt.Errorf("write image %s: %w", c.Name, err)
	}
	layerID := fmt.Sprintf("%x", sha256.Sum256(layer.Bytes()))
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Entrypoint": c.Entrypoint,
			"Cmd":        c.Command,
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layerID}},
	})
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": []string{c.Name}, "Layers": []string{layerID + ".tar"},
	}})
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{{configName, config}, {layerID + ".tar", layer.Bytes()}, {"manifest.json", manifest}} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return fmt.Errorf("write image %s: %w", c.Name, err)
		}
	}
	return t.Close()
}

// WriteFile is Write to a new file.
func (r *Rootfs) WriteFile(path string, c Config) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := r.Write(f, c); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// writeLayer writes the entries, folders before what is in them.
func (r *Rootfs) writeLayer(w io.Writer) error {
	var paths []string
	for p := range r.entries {
		paths = append(paths, p)
	}
	slices.Sort(paths) // a folder's name is the beginning of those in it
	t := tar.NewWriter(w)
	for _, p := range paths {
		e := r.entries[p]
		h := &tar.Header{Name: p, Mode: int64(e.mode.Perm())}
		if e.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		switch {
		case e.mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, p+"/"
		case e.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		default:
			if err := writeFile(t, h, e.source); err != nil {
				return err
			}
			continue
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeFile(t *tar.Writer, h *tar.Header, source string) error {
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = t.Write(data)
	return err
}
