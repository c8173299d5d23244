// SPDX-License-Identifier: Apache-2.0

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Rootfs is the files of an image. The zero value is empty and ready.
type Rootfs struct {
	entries map[string]entry // by path, without the leading slash
}

// entry is one file, link or folder.
type entry struct {
	mode   fs.FileMode // type and permissions
	source string      // a file's path on this host
	link   string      // a symbolic link's target
}

// AddPrograms adds programs, by path or by name: then they are looked up on PATH
// and in the folders of an administrator's programs. An error names those that
// are not there, all of them.
func (r *Rootfs) AddPrograms(names ...string) error {
	var missing []string
	for _, name := range names {
		path, err := lookUp(name)
		if err != nil {
			missing = append(missing, name)
			continue
		}
		if err := r.Add(path); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("programs for an image are not here: %s", strings.Join(missing, ", "))
	}
	return nil
}

// Add adds a file of this host at its own path: with what a symbolic link points
// to, and with the libraries of a program. Folders are added by what is in them.
func (r *Rootfs) Add(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	return r.add(path, path)
}

// AddAs adds a file of this host at another path of the image.
func (r *Rootfs) AddAs(source, path string) error {
	source, err := filepath.EvalSymlinks(source)
	if err != nil {
		return fmt.Errorf("add %s to an image: %w", path, err)
	}
	return r.add(source, path)
}

// AddFolder adds an empty folder.
func (r *Rootfs) AddFolder(path string, perm fs.FileMode) {
	r.put(path, entry{mode: fs.ModeDir | perm})
}

// AddLink adds a symbolic link.
func (r *Rootfs) AddLink(path, target string) {
	r.put(path, entry{mode: fs.ModeSymlink | 0o777, link: target})
}

// add adds source at path. Where they are the same, links on the way are kept as
// links, so that /lib and /usr/lib stay one folder where they are one.
func (r *Rootfs) add(source, path string) error {
	if source == path {
		real, err := r.followFolders(filepath.Dir(path))
		if err != nil {
			return fmt.Errorf("add %s to an image: %w", path, err)
		}
		path = filepath.Join(real, filepath.Base(path))
		source = path
	}
	if _, ok := r.entries[strings.TrimPrefix(path, "/")]; ok {
		return nil
	}
	info, err := os.Lstat(source)
	if err != nil {
		return fmt.Errorf("add %s to an image: %w", path, err)
	}
	switch {
	case info.Mode().IsRegular():
		r.put(path, entry{mode: info.Mode().Perm(), source: source})
		libraries, err := librariesOf(source)
		if err != nil {
			return err
		}
		for _, l := range libraries {
			if err := r.add(l, l); err != nil {
				return err
			}
		}
		return nil
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		r.AddLink(path, target)
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		return r.add(target, target)
	}
	return fmt.Errorf("add %s to an image: neither a file nor a link", path)
}

// followFolders gives the real path of a folder and adds the links that lead to it.
func (r *Rootfs) followFolders(dir string) (string, error) {
	real := "/"
	for _, element := range strings.Split(strings.Trim(dir, "/"), "/") {
		next := filepath.Join(real, element)
		target, err := os.Readlink(next)
		switch {
		case err == nil:
			r.AddLink(next, target)
			if !filepath.IsAbs(target) {
				target = filepath.Join(real, target)
			}
			if real, err = r.followFolders(target); err != nil {
				return "", err
			}
		case errors.Is(err, fs.ErrNotExist):
			return "", err
		default: // not a link
			real = next
		}
	}
	return real, nil
}

// put adds an entry and the folders above it.
func (r *Rootfs) put(path string, e entry) {
	if r.entries == nil {
		r.entries = map[string]entry{}
	}
	path = strings.Trim(filepath.Clean(path), "/")
	if path == "" || path == "." {
		return
	}
	r.entries[path] = e
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		if _, ok := r.entries[dir]; !ok {
			r.entries[dir] = entry{mode: fs.ModeDir | 0o755}
		}
	}
}

// lookUp finds a program by name or path.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if path, e := exec.LookPath(filepath.Join(dir, name)); e == nil && !strings.Contains(name, "/") {
			return path, nil
		}
	}
	return "", err
}
