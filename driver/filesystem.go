// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/podlv/podlv/lvm"
)

// filesystem is what podlv knows of a filesystem that it makes.
type filesystem struct {
	name string
	// minimum is the smallest device, in bytes, that its mkfs takes and that
	// mounts: found out on e2fsprogs 1.47, xfsprogs 6.1 and btrfs-progs 6.2, in
	// steps of 1 MiB (TestRealMinimumSizes).
	minimum int64
	// grown is the smallest size in bytes that it can be grown to; 0: any (btrfs: Linux,
	// fs/btrfs/ioctl.c, btrfs_ioctl_resize).
	grown int64
	// mkfs are the options a user may give, and what they mean. None, here or
	// below, lets old bytes of the disk show in files after a crash: no writeback,
	// no missing barriers or journal.
	mkfs map[string]mkfsOption
	// mount are the mount options a user may give, beside anyMount.
	mount []string
}

// mkfsOption is one allowed mkfs option: the values it takes, and its arguments.
type mkfsOption struct {
	values *regexp.Regexp
	args   func(value string) []string
}

const (
	mib               = 1 << 20
	defaultFilesystem = "ext4"
)

var number = regexp.MustCompile(`^[0-9]{1,9}$`)

// filesystems is the list of what can be made. An entry here, its minimum and a
// case in mkfsArgs (mount_linux.go) are all that another one takes.
var filesystems = map[string]filesystem{
	"ext4": {
		name: "ext4", minimum: 1 * mib,
		mkfs: map[string]mkfsOption{
			"bytes-per-inode":  {number, func(v string) []string { return []string{"-i", v} }},
			"inode-size":       {regexp.MustCompile(`^(128|256|512|1024)$`), func(v string) []string { return []string{"-I", v} }},
			"reserved-percent": {regexp.MustCompile(`^([0-9]|[1-4][0-9]|50)$`), func(v string) []string { return []string{"-m", v} }},
		},
		mount: []string{`data=(ordered|journal)`, `commit=[0-9]{1,5}`, `noauto_da_alloc`, `stripe=[0-9]{1,6}`},
	},
	"xfs": {
		name: "xfs", minimum: 300 * mib,
		mkfs: map[string]mkfsOption{
			"inode-size": {regexp.MustCompile(`^(512|1024|2048)$`), func(v string) []string { return []string{"-i", "size=" + v} }},
			"reflink":    {regexp.MustCompile(`^[01]$`), func(v string) []string { return []string{"-m", "reflink=" + v} }},
		},
		mount: []string{`largeio`, `swalloc`, `inode64`, `allocsize=[0-9]{1,6}[km]?`, `logbsize=[0-9]{1,3}k`},
	},
	"btrfs": {
		name: "btrfs", minimum: 109 * mib, grown: 256 * mib,
		mkfs: map[string]mkfsOption{
			"metadata":  {regexp.MustCompile(`^(single|dup)$`), func(v string) []string { return []string{"-m", v} }},
			"node-size": {regexp.MustCompile(`^(4096|8192|16384|32768|65536)$`), func(v string) []string { return []string{"-n", v} }},
		},
		mount: []string{`compress(-force)?=(zstd(:[0-9]{1,2})?|lzo|zlib(:[0-9])?)`, `autodefrag`, `ssd`, `nodatacow`, `nodatasum`, `max_inline=[0-9]{1,5}`},
	},
}

// anyMount are the mount options that any filesystem takes. None of them lets a
// user do to a node what the pod could not do anyway.
var anyMount = []string{
	"noatime", "relatime", "strictatime", "nodiratime", "lazytime", "nolazytime",
	"noexec", "nosuid", "nodev", "discard", "nodiscard", "sync", "dirsync",
}

// canGrow says why a filesystem of from bytes cannot be grown to so many.
func (f filesystem) canGrow(from, to int64) error {
	if to > from && to < f.grown {
		return fmt.Errorf("%w: Linux grows no %s to less than %s: ask for that, or for the %s that it has", errRange, f.name, lvm.FormatSize(f.grown), lvm.FormatSize(from))
	}
	return nil
}

// isFilesystem says whether podlv makes filesystems of this name.
func isFilesystem(name string) bool {
	_, ok := filesystems[name]
	return ok
}

// filesystemNamed looks a filesystem up.
func filesystemNamed(name string) (filesystem, error) {
	f, ok := filesystems[name]
	if !ok {
		return filesystem{}, fmt.Errorf("%w: filesystem %q: must be one of %s", errInvalid, name, strings.Join(filesystemNames(), ", "))
	}
	return f, nil
}

func filesystemNames() []string {
	names := make([]string, 0, len(filesystems))
	for n := range filesystems {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// mountOptions reads a comma-separated list of mount options against the
// allow-list.
func (f filesystem) mountOptions(list string) ([]string, error) {
	var options []string
	for _, o := range splitList(list) {
		if !f.allowsMount(o) {
			return nil, fmt.Errorf("%w: mount option %q is not allowed for %s; allowed are %s", errInvalid, o, f.name, strings.Join(append(append([]string{}, anyMount...), f.mount...), ", "))
		}
		options = append(options, o)
	}
	return options, nil
}

// selinuxOption is a mount option by which kubelet labels a volume at its mount, in
// the quotes that it puts around it (kubernetes 1.36, pkg/volume/util/selinux.go,
// AddSELinuxMountOption). There are commas in it.
var selinuxOption = regexp.MustCompile(`^(context|fscontext|defcontext|rootcontext)="?[A-Za-z0-9_.:,-]+"?$`)

// mountFlags checks the mount flags of a volume capability: a StorageClass's
// mountOptions against the allow-list, and what kubelet adds for SELinux.
func (f filesystem) mountFlags(flags []string) ([]string, error) {
	var options []string
	for _, flag := range flags {
		if selinuxOption.MatchString(flag) {
			options = append(options, flag)
			continue
		}
		more, err := f.mountOptions(flag)
		if err != nil {
			return nil, fmt.Errorf("mountOptions: %w", err)
		}
		options = append(options, more...)
	}
	return options, nil
}

func (f filesystem) allowsMount(option string) bool {
	for _, a := range anyMount {
		if option == a {
			return true
		}
	}
	for _, pattern := range f.mount {
		if regexp.MustCompile("^(" + pattern + ")$").MatchString(option) {
			return true
		}
	}
	return false
}

// mkfsOptions reads a comma-separated list of name=value against the allow-list
// and gives the arguments of mkfs that it stands for.
func (f filesystem) mkfsOptions(list string) ([]string, error) {
	var args []string
	for _, o := range splitList(list) {
		name, value, _ := strings.Cut(o, "=")
		known, ok := f.mkfs[name]
		if !ok {
			return nil, fmt.Errorf("%w: mkfs option %q is not allowed for %s; allowed are %s", errInvalid, name, f.name, strings.Join(f.mkfsNames(), ", "))
		}
		if !known.values.MatchString(value) {
			return nil, fmt.Errorf("%w: mkfs option %s: value %q does not match %s", errInvalid, name, value, known.values)
		}
		args = append(args, known.args(value)...)
	}
	return args, nil
}

func (f filesystem) mkfsNames() []string {
	names := make([]string, 0, len(f.mkfs))
	for n := range f.mkfs {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func splitList(list string) []string {
	var words []string
	for _, w := range strings.Split(list, ",") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return words
}
