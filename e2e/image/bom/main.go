// SPDX-License-Identifier: Apache-2.0

// Command bom prints what is in an image, for programs that look for what is known to be
// vulnerable: a CycloneDX document with its Debian packages and Go modules.
//
//	bom -name ghcr.io/podlv/podlv -version 1.0.0 podlv-amd64.tar
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/podlv/podlv/e2e/image"
)

func main() {
	name := flag.String("name", "", "name of the image, without a tag")
	version := flag.String("version", "", "its version")
	flag.Parse()
	if *name == "" || *version == "" || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	text, err := image.BOM(flag.Arg(0), *name, *version)
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bom:", err)
		os.Exit(1)
	}
}
