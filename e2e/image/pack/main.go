// SPDX-License-Identifier: Apache-2.0

// Command pack makes an image of all that is in a folder:
//
//	pack -root FOLDER -name podlv.dev/podlv:dev -architecture arm64 -o podlv.tar PROGRAM ARGUMENTS…
//
// PROGRAM is what the image runs. The archive is there when it is whole.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/podlv/podlv/e2e/image"
)

func main() {
	root := flag.String("root", "", "folder of the image's files")
	name := flag.String("name", "", "name of the image, with its tag")
	architecture := flag.String("architecture", "", "the image's architecture, as Go names it (default: this machine's)")
	out := flag.String("o", "", "the archive to write")
	flag.Parse()
	if *root == "" || *name == "" || *out == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := pack(*root, *out, image.Config{Name: *name, Entrypoint: flag.Args(), Architecture: *architecture}); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(root, out string, c image.Config) error {
	r := &image.Rootfs{}
	if err := r.AddTree(root); err != nil {
		return err
	}
	if err := r.WriteFile(out+".part", c); err != nil {
		return err
	}
	return os.Rename(out+".part", out)
}
