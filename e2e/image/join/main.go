// SPDX-License-Identifier: Apache-2.0

// Command join makes one image of archives for several architectures:
//
//	join -name ghcr.io/podlv/podlv:1.0.0 -o FOLDER podlv-amd64.tar podlv-arm64.tar
//
// FOLDER is then an OCI image layout, which crane pushes as it is.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/podlv/podlv/e2e/image"
)

func main() {
	name := flag.String("name", "", "name of the image, with its tag")
	out := flag.String("o", "", "the folder to make")
	flag.Parse()
	if *name == "" || *out == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := image.Join(*out, *name, flag.Args()...); err != nil {
		fmt.Fprintln(os.Stderr, "join:", err)
		os.Exit(1)
	}
}
