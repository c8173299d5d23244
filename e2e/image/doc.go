// SPDX-License-Identifier: Apache-2.0

// Package image makes container images from programs of this host: no engine, no
// registry, no Dockerfile. There are only a Rootfs, the files of an image, and
// Write, which packs it as an archive for "ctr images import", "docker load" and "kind load
// image-archive".
//
// A program comes with the shared libraries that it names in its ELF header and
// those that they name, found as ld.so(8) finds them. What a program opens by
// itself while it runs (plugins, configuration files) nobody can see from outside:
// add it by name.
//
// The same files give the same archive, byte by byte: names in order, no times, no
// owners.
package image
