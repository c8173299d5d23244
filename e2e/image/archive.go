// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Config is what an image says about itself.
type Config struct {
	Name         string   // "podlv.dev/podlv:lab"
	Entrypoint   []string // program and first arguments
	Architecture string   // as Go names it; this host's when empty
	Command      []string // further arguments, in place of which a container can give others
	Env          []string // of its containers, beside PATH: "KEY=value"
}

// blob is one content of an archive, which is named after its hash.
type blob struct {
	media string
	data  []byte
}

func (b blob) digest() string { return fmt.Sprintf("%x", sha256.Sum256(b.data)) }

func (b blob) path() string { return "blobs/sha256/" + b.digest() }

// descriptor is how OCI refers to it.
func (b blob) descriptor() map[string]any {
	return map[string]any{"mediaType": b.media, "digest": "sha256:" + b.digest(), "size": len(b.data)}
}

// Write packs the files as an image of one layer: an OCI image layout with a manifest.json
// beside it, as "docker save" writes it. containerd, docker and kind load it.
func (r *Rootfs) Write(w io.Writer, c Config) error {
	var files bytes.Buffer
	if err := r.writeLayer(&files); err != nil {
		return fmt.Errorf("write image %s: %w", c.Name, err)
	}
	layer := blob{"application/vnd.oci.image.layer.v1.tar", files.Bytes()}
	config, err := object("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": cmp.Or(c.Architecture, runtime.GOARCH),
		"os":           "linux",
		"config": map[string]any{
			"Entrypoint": c.Entrypoint,
			"Cmd":        c.Command,
			"Env":        append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, c.Env...),
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layer.digest()}},
	})
	if err != nil {
		return err
	}
	manifest, err := imageManifest(config, []any{layer.descriptor()})
	if err != nil {
		return err
	}
	entry := manifest.descriptor()
	entry["platform"] = map[string]any{"architecture": cmp.Or(c.Architecture, runtime.GOARCH), "os": "linux"}
	entry["annotations"] = names(c.Name)
	index, err := object("", map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{entry}})
	if err != nil {
		return err
	}
	saved, err := object("", []map[string]any{{"Config": config.path(), "RepoTags": []string{c.Name}, "Layers": []string{layer.path()}}})
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, f := range []file{
		{layoutFile.path, layoutFile.data},
		{"index.json", index.data},
		{"manifest.json", saved.data},
		{manifest.path(), manifest.data},
		{config.path(), config.data},
		{layer.path(), layer.data},
	} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			return err
		}
		if _, err := t.Write(f.data); err != nil {
			return fmt.Errorf("write image %s: %w", c.Name, err)
		}
	}
	return t.Close()
}

// file is one file of an archive.
type file struct {
	path string
	data []byte
}

// layoutFile says of a folder or archive that it is an OCI image layout.
var layoutFile = file{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}

// names is how containerd and OCI's tools learn an image's name from an index.
func names(name string) map[string]any {
	return map[string]any{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name[strings.LastIndex(name, ":")+1:]}
}

// imageManifest is the manifest of an image, of its config and the descriptors of its layers.
func imageManifest(config blob, layers []any) (blob, error) {
	const media = "application/vnd.oci.image.manifest.v1+json"
	return object(media, map[string]any{"schemaVersion": 2, "mediaType": media, "config": config.descriptor(), "layers": layers})
}

// object is a JSON document.
func object(media string, v any) (blob, error) {
	data, err := json.Marshal(v)
	return blob{media, data}, err
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
