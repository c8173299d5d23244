// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A transcript is a session with real lvm2: lines "$ COMMAND", what it printed
// (O| standard output, E| standard error), its exit status ("rc=", 0 unless given)
// and lines "> " for what was done to the devices. Captured in a User-Mode Linux
// kernel, with the version of lvm2 in the file's name.
func TestRealTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*-2.03.16.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { replay(t, file) })
	}
}

func replay(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	var n int
	var size int64
	_, err = fmt.Sscanf(lines[0][strings.Index(lines[0], "disks="):], "disks=%d size=%d", &n, &size)
	require.NoError(t, err)
	var disks []fakelvm.Disk
	for i := range n {
		disks = append(disks, fakelvm.Disk{Path: "/dev/ubd" + string(rune('b'+i)), Size: size})
	}
	h := fakelvm.New(disks...)
	m := &machine{h: h}
	for i := 1; i < len(lines); {
		line := lines[i]
		i++
		if step, ok := strings.CutPrefix(line, "> "); ok {
			assert.NoError(t, m.do(step), "line %d: %s", i, line)
			if i < len(lines) && lines[i] == "failed" { // a write that was cut short
				i++
			}
			continue
		}
		command, ok := strings.CutPrefix(line, "$ ")
		require.True(t, ok, "line %d: %q", i, line)
		var out, stderr strings.Builder
		code := 0
		for i < len(lines) && !strings.HasPrefix(lines[i], "$ ") && !strings.HasPrefix(lines[i], "> ") {
			switch l := lines[i]; {
			case strings.HasPrefix(l, "O|"):
				out.WriteString(l[2:] + "\n")
			case strings.HasPrefix(l, "E|"):
				stderr.WriteString(l[2:] + "\n")
			default:
				_, err := fmt.Sscanf(l, "rc=%d", &code)
				require.NoError(t, err, "line %d: %q", i+1, l)
			}
			i++
		}
		args := split(command)
		if args[0] == "lvm" {
			args = args[1:]
		}
		stdout, err := h.Run(context.Background(), args...)
		gotErr, gotCode := "", 0
		var exit *lvm.ExitError
		if errors.As(err, &exit) {
			gotErr, gotCode = exit.Stderr, exit.Code
		} else {
			require.NoError(t, err)
		}
		ordered := args[0] != "fullreport"
		want := fmt.Sprintf("rc=%d\n%s", code, comparable(strings.Join(reportLines(out.String(), ordered), "\n")))
		got := fmt.Sprintf("rc=%d\n%s", gotCode, comparable(strings.Join(reportLines(string(stdout), ordered), "\n")))
		if code != 0 { // a Runner hands standard error out only then
			want += "stderr:\n" + comparable(stderr.String())
			got += "stderr:\n" + comparable(gotErr)
		}
		if want != got {
			t.Errorf("line %d: %s\nreal lvm2:\n%s\nfake:\n%s", i, command, want, got)
		}
	}
}

// What differs between machines is made equal: UUIDs, the padding of columns, and
// the list of all fields that lvm prints before some errors.
var (
	uuids   = regexp.MustCompile(`\b\w{6}(-\w{4}){5}-\w{6}\b`)
	padding = regexp.MustCompile(`[ \t]+`)
	lost    = regexp.MustCompile(`(?m)^ ?WARNING: Couldn't find device with uuid .*\n`) // as often as lvm looks
	blank   = regexp.MustCompile(`(?m)^ ?\n|^ ?(string list|regular expression) - .*\n`)
	help    = regexp.MustCompile(`(?m)^ (\S.* Fields|-+|\S+ +- .*|Selection .*|Reserved values|Comparison operators:|Logical and .*|.* - .*\[\w.*\]|"all items.*|) ?\n`)
)

// headings is lines of column titles: the fake has those of the default reports only.
var headings = regexp.MustCompile(`(?m)^ ?(LV|VG|PV) (\w+ )*[A-Z#\w_].*\n`)

func comparable(s string) string {
	s = uuids.ReplaceAllString(s, "UUID")
	s = padding.ReplaceAllString(s, " ")
	s = strings.ReplaceAll(s, " \n", "\n")
	s = headings.ReplaceAllString(s, "")
	s = help.ReplaceAllString(lost.ReplaceAllString(s, ""), "")
	return blank.ReplaceAllString(s, "")
}

// split splits a command line at spaces, with single quotes.
func split(s string) (args []string) {
	quoted, started := false, false
	var word strings.Builder
	for _, r := range s {
		switch {
		case r == '\'':
			quoted, started = !quoted, true
		case r == ' ' && !quoted:
			if started {
				args = append(args, word.String())
				word.Reset()
				started = false
			}
		default:
			word.WriteRune(r)
			started = true
		}
	}
	if started {
		args = append(args, word.String())
	}
	return args
}

// machine does to a Host what a transcript's "> " lines say.
type machine struct {
	h    *fakelvm.Host
	held *fakelvm.Device
}

func (m *machine) do(step string) error {
	f := strings.Fields(step)
	switch f[0] {
	case "open":
		d, err := m.h.Open(f[1])
		m.held = d
		return err
	case "close":
		return m.held.Close()
	case "mkfs":
		return m.h.Format(f[2], f[1], "01234567-89ab-cdef-0123-456789abcdef")
	case "mount":
		if err := m.h.MkdirAll("/run/mnt"); err != nil {
			return err
		}
		kind, _, err := m.h.Signature(f[1])
		if err != nil {
			return err
		}
		return m.h.Mount(f[1], "/run/mnt", kind, nil)
	case "umount":
		return m.h.Unmount("/run/mnt")
	case "take":
		return m.h.TakeDisk(f[1])
	case "return":
		return m.h.ReturnDisk(f[1])
	case "write":
		return m.write(f[1], f[2], f[3])
	case "textsize":
		return m.textSize(f[1], f[2])
	}
	return fmt.Errorf("unknown step %q", step)
}

// textSize compares the length of a PV's metadata text, as its metadata area's
// header has it, with the real one. The real machine was named like a new Host.
func (m *machine) textSize(disk, want string) error {
	d, err := m.h.Open(disk)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	size := make([]byte, 8)
	if _, err := d.ReadAt(size, 4096+48); err != nil {
		return err
	}
	if got := fmt.Sprint(binary.LittleEndian.Uint64(size)); got != want {
		return fmt.Errorf("the metadata text on %s has %s bytes, not %s", disk, got, want)
	}
	return nil
}

// write writes random bytes in requests of 64 KiB and ends at the first error, as
// the transcript's dd did.
func (m *machine) write(device, offset, length string) error {
	var off, n int64
	if _, err := fmt.Sscan(offset+" "+length, &off, &n); err != nil {
		return err
	}
	d, err := m.h.Open(device)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	random := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 64<<10)
	for i := range buf {
		buf[i] = byte(random.Uint32())
	}
	for ; n > 0; n, off = n-int64(len(buf)), off+int64(len(buf)) {
		if _, err := d.WriteAt(buf, off); err != nil {
			return nil
		}
	}
	return nil
}
