// SPDX-License-Identifier: Apache-2.0

// Command lvm is the fake machine of package fakelvm as a drop-in `lvm` executable, for
// programs that can only be tested with a program: shell scripts, a container, a
// node of kind.
//
//	lvm lvcreate --name a --size 1g vg0
//	lvcreate --name a --size 1g vg0      (a link of that name to this program)
//	lvm                                  (commands from standard input, a line each)
//
// # Environment
//
// FAKELVM_DIR is the folder of the machine's state and must be set. It is made
// when it is missing. The state is one JSON file, replaced as a whole after each
// command; a lock on a second file lets any number of processes share a machine.
//
// FAKELVM_DISKS is the machine's disks, `PATH=SIZE[,PATH=SIZE…]`, for instance
// /dev/fake0=100g. Those that the machine has not got yet are plugged in. A disk whose
// path is in FAKELVM_DIR gets a file there that begins as a PV's disk does and changes
// with every commit, which is how podlv sees changes without asking lvm.
//
// FAKELVM_BACKING=loop gives every active LV a real device: a sparse file in
// FAKELVM_DIR/lv on a loop device, to which /dev/VG/LV and /dev/mapper/VG-LV are
// links. They can be formatted and mounted; an LV whose device is in use cannot be
// removed. The disks need not exist and can have any size. A new LV is blank then:
// old bytes of other LVs do not show up, and what is written is not counted in a
// thin pool. A snapshot is a copy. It takes root. After a boot of the kernel the
// first command activates what was to be activated, as a system's start does.
// Processes in several containers can share a machine, if all have the folder at the
// same path; links are made in each container's own /dev by the command that finds them
// missing there.
// FAKELVM_DEV is the folder to use instead of /dev for the links.
//
// # Beside lvm's own commands
//
//	lvm fakelvm show                     prints the machine
//	lvm fakelvm disk PATH SIZE           plugs a disk in
//	lvm fakelvm take PATH                takes a disk away
//	lvm fakelvm return PATH              brings it back
//	lvm fakelvm reboot                   crashes and boots the machine
//	lvm fakelvm watch                    prints the machine's state as JSON, one line now
//	                                     and one whenever it changes, for ever
//	lvm fakelvm destroy                  throws the machine away, with its devices; one
//	                                     that is in use goes when it is not any more
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
)

func main() {
	os.Exit(run(os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// exitInit is lvm's status for a failed start (EINIT_FAILED).
const exitInit = 4

// run runs one command line, or those on stdin, and returns the exit status.
func run(args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{dir: env("FAKELVM_DIR"), disks: env("FAKELVM_DISKS"), dev: env("FAKELVM_DEV"), stdout: stdout, stderr: stderr}
	if p.dev == "" {
		p.dev = "/dev"
	}
	switch backing := env("FAKELVM_BACKING"); backing {
	case "":
	case "loop":
		p.loop = true
	default:
		fmt.Fprintf(stderr, "  fakelvm: FAKELVM_BACKING is %q; it may be loop, or unset\n", backing)
		return exitInit
	}
	if p.dir == "" {
		fmt.Fprintln(stderr, "  fakelvm: FAKELVM_DIR is not set: it names the folder of the machine's state")
		return exitInit
	}
	if name := filepath.Base(args[0]); name != "lvm" && name != "fakelvm" {
		return p.command(append([]string{name}, args[1:]...))
	}
	if len(args) > 1 {
		return p.command(args[1:])
	}
	code := 0
	lines := bufio.NewScanner(stdin)
	for lines.Scan() {
		if words := words(lines.Text()); len(words) > 0 && words[0] != "exit" && words[0] != "quit" {
			code = p.command(words)
		}
	}
	return code
}

// words splits a line of lvm's shell: at spaces, with quotes.
func words(line string) (out []string) {
	var word strings.Builder
	started, quote := false, rune(0)
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, started = r, true
		case r == ' ' || r == '\t':
			if started {
				out = append(out, word.String())
				word.Reset()
				started = false
			}
		case r == '#' && !started:
			return out
		default:
			word.WriteRune(r)
			started = true
		}
	}
	if started {
		out = append(out, word.String())
	}
	return out
}

// program is one run of the executable.
type program struct {
	dir, disks, dev string
	loop            bool
	stdout, stderr  io.Writer
}

// command runs one command on the machine: under its lock, from its stored state
// to its new one.
func (p *program) command(args []string) int {
	if slices.Equal(args, []string{"fakelvm", "watch"}) {
		fmt.Fprintf(p.stderr, "  fakelvm: %v\n", p.watch())
		return exitInit
	}
	code, err := p.locked(func(h *fakelvm.Host) (int, error) {
		if args[0] == "fakelvm" {
			return p.own(h, args[1:])
		}
		out, err := h.Run(context.Background(), args...)
		if _, err := p.stdout.Write(out); err != nil {
			return exitInit, err
		}
		var exit *lvm.ExitError
		if errors.As(err, &exit) {
			_, err = io.WriteString(p.stderr, exit.Stderr)
			return exit.Code, err
		}
		return 0, err
	})
	if err != nil {
		fmt.Fprintf(p.stderr, "  fakelvm: %v\n", err)
		return max(code, exitInit)
	}
	return code
}

// own runs the commands that lvm has not.
func (p *program) own(h *fakelvm.Host, args []string) (int, error) {
	if len(args) == 0 {
		return exitInit, errors.New("say show, disk, take, return, reboot, watch or destroy")
	}
	switch {
	case args[0] == "show" && len(args) == 1:
		_, err := io.WriteString(p.stdout, h.String())
		return 0, err
	case args[0] == "reboot" && len(args) == 1:
		h.Reboot()
		return 0, nil
	case args[0] == "destroy" && len(args) == 1:
		return 0, errDestroyed
	case args[0] == "disk" && len(args) == 3:
		size, err := parseSize(args[2])
		if err != nil {
			return exitInit, err
		}
		return 0, h.AddDisk(fakelvm.Disk{Path: args[1], Size: size})
	case args[0] == "take" && len(args) == 2:
		return 0, h.TakeDisk(args[1])
	case args[0] == "return" && len(args) == 2:
		return 0, h.ReturnDisk(args[1])
	}
	return exitInit, fmt.Errorf("unknown command fakelvm %s", strings.Join(args, " "))
}

// parseSize reads a size: bytes, or with one of the letters k, m, g, t.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(strings.ToLower(s), "kmgt")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit := strings.ToLower(s[len(digits):])
	if err != nil || n <= 0 || len(unit) > 1 {
		return 0, fmt.Errorf("size %q: want a positive number and at most one of k, m, g, t", s)
	}
	if unit != "" {
		n <<= 10 * (1 + strings.Index("kmgt", unit))
	}
	return n, nil
}
