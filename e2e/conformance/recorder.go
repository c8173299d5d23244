// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podlv/podlv/e2e/conformance/cases"
	"github.com/podlv/podlv/e2e/conformance/record"
)

const (
	kubeletDir = "/var/lib/kubelet"
	// recorderPort is where the driver is told what to do.
	recorderPort = "9001"
	// device is what every raw block volume is.
	device = "/dev/ubdc"
)

// recorder is the driver, on the node. Its calls go to a file, which outlives the node's
// power.
func recorder(ctx context.Context, address, file string) error {
	for _, dir := range []string{kubeletDir + "/plugins_registry", kubeletDir + "/plugins/" + cases.Driver} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	lines := json.NewEncoder(log)
	d := record.New(record.Config{
		Name: cases.Driver, Node: cases.Node, TopologyKey: cases.TopologyKey, Machine: linux{},
		Registry: kubeletDir + "/plugins_registry", Socket: filepath.Join(kubeletDir, "plugins", cases.Driver, "csi.sock"),
		Keep: func(c record.Call) {
			if err := lines.Encode(c); err != nil {
				fmt.Println(err)
			}
		},
	})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: d.Handler(), ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

// linux mounts for real: each folder is a filesystem of its own, in memory.
type linux struct{}

var _ record.Machine = linux{}

func (linux) PublishFolder(target string) error {
	if err := os.MkdirAll(target, 0o750); err != nil || mounted(target) {
		return err
	}
	return unix.Mount("tmpfs", target, "tmpfs", 0, "size=1m")
}

func (linux) PublishDevice(target string) error {
	f, err := os.OpenFile(target, os.O_CREATE, 0o640)
	if err == nil {
		err = f.Close()
	}
	if err != nil || mounted(target) {
		return err
	}
	return unix.Mount(device, target, "", unix.MS_BIND, "")
}

func (linux) Unpublish(target string) error {
	if mounted(target) {
		if err := unix.Unmount(target, 0); err != nil {
			return err
		}
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mounted says whether something is mounted at a path.
func mounted(target string) bool {
	table, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(table), " "+target+" ")
}

// tail reads a file of calls that grows, whose last line may be cut off.
type tail struct {
	file  string
	read  int64
	calls []record.Call
}

// all are all calls that are in the file by now.
func (t *tail) all() ([]record.Call, error) {
	f, err := os.Open(t.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(t.read, 0); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return t.calls, nil // the rest is still being written
		}
		t.read += int64(len(line))
		var c record.Call
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", t.file, err)
		}
		t.calls = append(t.calls, c)
	}
}
