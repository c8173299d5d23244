// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// AddTree adds all that is in a folder of this host, at its path in that folder: files,
// folders and symbolic links as they are, and no libraries. What is neither is an error.
func (r *Rootfs) AddTree(dir string) error {
	return filepath.WalkDir(dir, func(source string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err := filepath.Rel(dir, source)
		if err != nil || path == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			r.put(path, entry{mode: fs.ModeDir | info.Mode()&(fs.ModePerm|fs.ModeSticky)})
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(source)
			if err != nil {
				return err
			}
			r.put(path, entry{mode: fs.ModeSymlink | 0o777, link: target})
		case info.Mode().IsRegular():
			r.put(path, entry{mode: info.Mode().Perm(), source: source})
		default:
			return fmt.Errorf("add %s to an image: neither a file, a folder nor a link", source)
		}
		return nil
	})
}
