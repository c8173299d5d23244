// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// index is an OCI image index, as far as it is read here.
type index struct {
	Manifests []struct {
		Digest   string
		Platform map[string]any
	}
}

// Join makes one image of archives that WriteFile has written, one for each architecture:
// a folder in OCI's image layout, whose only image is an index of them all, for a program
// that pushes such folders to a registry. The layers are compressed. The folder must not be
// there; it is left behind half made after an error.
func Join(folder, name string, archives ...string) error {
	blobs := filepath.Join(folder, "blobs", "sha256")
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	var entries []any
	seen := map[string]string{}
	for _, a := range archives {
		files, err := ReadArchive(a)
		if err != nil {
			return err
		}
		entry, architecture, all, err := compressed(files)
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		if other, twice := seen[architecture]; twice {
			return fmt.Errorf("%s and %s are both for %s", other, a, architecture)
		}
		seen[architecture] = a
		entries = append(entries, entry)
		for _, b := range all {
			if err := os.WriteFile(filepath.Join(blobs, b.digest()), b.data, 0o644); err != nil {
				return err
			}
		}
	}
	const media = "application/vnd.oci.image.index.v1+json"
	images, err := object(media, map[string]any{"schemaVersion": 2, "mediaType": media, "manifests": entries})
	if err != nil {
		return err
	}
	entry := images.descriptor()
	entry["annotations"] = names(name)
	top, err := object(media, map[string]any{"schemaVersion": 2, "mediaType": media, "manifests": []any{entry}})
	if err != nil {
		return err
	}
	for path, data := range map[string][]byte{
		images.path():   images.data,
		"index.json":    top.data,
		layoutFile.path: layoutFile.data,
	} {
		if err := os.WriteFile(filepath.Join(folder, path), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compressed is the one image of an archive, its entry in an index and its architecture,
// with layers that are compressed. What the config says of them, the hashes of what they
// are when they are not, stays.
func compressed(files map[string][]byte) (entry map[string]any, architecture string, all []blob, err error) {
	var of index
	if err := json.Unmarshal(files["index.json"], &of); err != nil {
		return nil, "", nil, err
	}
	if len(of.Manifests) != 1 {
		return nil, "", nil, fmt.Errorf("has %d images, not one", len(of.Manifests))
	}
	find := func(digest string) ([]byte, error) {
		data, ok := files["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")]
		if !ok {
			return nil, fmt.Errorf("has no blob %s", digest)
		}
		return data, nil
	}
	text, err := find(of.Manifests[0].Digest)
	if err != nil {
		return nil, "", nil, err
	}
	var has struct {
		Config struct{ Digest, MediaType string }
		Layers []struct{ Digest string }
	}
	if err := json.Unmarshal(text, &has); err != nil {
		return nil, "", nil, err
	}
	data, err := find(has.Config.Digest)
	if err != nil {
		return nil, "", nil, err
	}
	config := blob{has.Config.MediaType, data}
	all = append(all, config)
	var layers []any
	for _, l := range has.Layers {
		data, err := find(l.Digest)
		if err != nil {
			return nil, "", nil, err
		}
		var b bytes.Buffer
		w := gzip.NewWriter(&b) // without a time: the same files give the same image
		if _, err := w.Write(data); err != nil {
			return nil, "", nil, err
		}
		if err := w.Close(); err != nil {
			return nil, "", nil, err
		}
		layer := blob{"application/vnd.oci.image.layer.v1.tar+gzip", b.Bytes()}
		all, layers = append(all, layer), append(layers, layer.descriptor())
	}
	manifest, err := imageManifest(config, layers)
	if err != nil {
		return nil, "", nil, err
	}
	entry = manifest.descriptor()
	entry["platform"] = of.Manifests[0].Platform
	return entry, fmt.Sprint(of.Manifests[0].Platform["architecture"]), append(all, manifest), nil
}

// ReadArchive is the files of an archive by name.
func ReadArchive(path string) (map[string][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files := map[string][]byte{}
	err = eachFile(f, func(name string, data []byte) error {
		files[name] = data
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return files, nil
}

// eachFile calls f with each regular file of a tar.
func eachFile(r io.Reader, f func(name string, data []byte) error) error {
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		if err := f(h.Name, data); err != nil {
			return err
		}
	}
}
