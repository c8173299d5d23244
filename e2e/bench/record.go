// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What the bare sequence runs is not written here: an agent whose PATH begins with
// a folder of stand-ins publishes and unpublishes one volume, the stand-ins write
// down how they were called and become the real programs, and the bare sequence
// repeats that. So both sides do the same by construction, and a change in podlv
// changes both.

// recordVariable names the file that stand-ins write to, and standInVariable the
// folder that they are in.
const (
	recordVariable  = "PODLV_BENCH_RECORD"
	standInVariable = "PODLV_BENCH_STANDINS"
)

// standIns are all programs that podlv can start for an ext4 volume.
var standIns = []string{"lvm", "mkfs.ext4", "mount", "umount", "blkid", "wipefs"}

// call is a program and its arguments.
type call []string

// recordAndBecome is what a stand-in does; it returns only in other processes,
// or when it fails.
func recordAndBecome() error {
	name := filepath.Base(os.Args[0])
	record, folder := os.Getenv(recordVariable), os.Getenv(standInVariable)
	if record == "" || !slices.Contains(standIns, name) {
		return nil
	}
	if err := appendCall(record, append(call{name}, os.Args[1:]...)); err != nil {
		return err
	}
	path := strings.TrimPrefix(os.Getenv("PATH"), folder+":")
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	return unix.Exec(program, append([]string{name}, os.Args[1:]...), os.Environ())
}

func appendCall(record string, c call) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(record, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// recording is a folder of stand-ins and what they write.
type recording struct{ folder, file string }

// newRecording makes the stand-ins in dir.
func newRecording(dir string) (recording, error) {
	r := recording{folder: filepath.Join(dir, "stand-ins"), file: filepath.Join(dir, "calls")}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	if err := os.Mkdir(r.folder, 0o755); err != nil {
		return r, err
	}
	for _, name := range standIns {
		if err := os.Symlink(self, filepath.Join(r.folder, name)); err != nil {
			return r, err
		}
	}
	return r, nil
}

// environment makes a process run the stand-ins.
func (r recording) environment() []string {
	return []string{recordVariable + "=" + r.file, standInVariable + "=" + r.folder, "PATH=" + r.folder + ":" + os.Getenv("PATH")}
}

// take returns the calls since the last take.
func (r recording) take() ([]call, error) {
	b, err := os.ReadFile(r.file)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(r.file); err != nil {
		return nil, err
	}
	var calls []call
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		var c call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			return nil, fmt.Errorf("read %q: %w", line, err)
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// name is the program, with the verb for lvm.
func (c call) name() string {
	if c[0] == "lvm" && len(c) > 1 {
		return "lvm " + c[1]
	}
	return c[0]
}

// names are the names of calls, for a person.
func names(calls []call) string {
	list := make([]string, len(calls))
	for i, c := range calls {
		list[i] = c.name()
	}
	return strings.Join(list, ", ")
}

// about is the call with other names in it: pairs of what is there and what is to be.
func (c call) about(names ...string) call {
	replace := strings.NewReplacer(names...)
	other := make(call, len(c))
	for i := range c {
		other[i] = replace.Replace(c[i])
	}
	return other
}
