// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// NodeCommand is the first argument with which a node's machine runs this
// executable: its main must hand the other arguments to NodeMain.
const NodeCommand = "cluster-node"

// vm is a node's microVM.
type vm struct {
	name    string
	number  int
	cluster *Cluster
	config  microvm.Config
	boots   int

	mu      sync.Mutex
	machine *microvm.Machine // nil while its power is off
}

// nodeSpec is what a node's first program is told.
type nodeSpec struct {
	Name     string
	IP       string
	PodCIDR  string
	Programs string
	Logs     string // in the share
	PKI      string
	Images   []string
	Sandbox  string
	LVMDisks []string
	Kubelet  map[string]any
}

// newNode makes a node's disks and folders; its machine is off.
func (c *Cluster) newNode(ctx context.Context, number int) (*Node, error) {
	n := &Node{Name: fmt.Sprintf("node-%d", number), cluster: c, ip: nodeIP(number)}
	dir := filepath.Join(c.cfg.Dir, n.Name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	var disks []string
	for i, size := range append([]int64{scratchDisk}, c.cfg.LVMDisks...) {
		folder := filepath.Join(c.cfg.Disks, fmt.Sprintf("%s-disk-%d", n.Name, i))
		if err := os.Mkdir(folder, 0o755); err != nil {
			return nil, err
		}
		made, err := microvm.MakeDisks(folder, 1, size)
		if err != nil {
			return nil, err
		}
		disks = append(disks, made...)
	}
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", disks[0]).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format the disk of %s: %w: %s", n.Name, err, out)
	}
	n.logs = filepath.Join(c.Logs(), n.Name)
	if err := os.Mkdir(n.logs, 0o755); err != nil {
		return nil, err
	}
	n.disks = microvm.DiskNames(len(disks))[1:]
	spec := nodeSpec{
		Name: n.Name, IP: nodeIP(number), PodCIDR: podCIDR(number), Programs: c.cfg.Programs, Logs: n.logs,
		PKI: filepath.Join(c.cfg.Dir, "pki"), Images: c.cfg.Images, Sandbox: c.cfg.Sandbox,
		LVMDisks: n.disks, Kubelet: c.cfg.Kubelet,
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	specPath := filepath.Join(dir, "node.json")
	if err := os.WriteFile(specPath, b, 0o644); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	visible := []string{c.cfg.Dir, c.cfg.Programs}
	for _, i := range c.cfg.Images {
		visible = append(visible, filepath.Dir(i))
	}
	n.machine = &vm{name: n.Name, number: number, cluster: c, config: microvm.Config{
		Command: []string{self, NodeCommand, specPath},
		Env:     []string{"PATH=" + c.cfg.Programs + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Memory:  c.cfg.Memory,
		CPU:     number - 1,
		Disks:   disks,
		Share:   n.logs,
		Visible: visible,
		Modules: microvm.NodeModules(),
		Tap:     tap(number),
	}}
	return n, nil
}

// start boots the node and returns at once. That its machine ends before it is killed ends
// the cluster.
func (n *vm) start(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.boots++
	console, err := os.Create(filepath.Join(n.config.Share, fmt.Sprintf("boot-%d.log", n.boots)))
	if err != nil {
		return err
	}
	cfg := n.config
	cfg.Console = console
	m, err := microvm.Start(n.cluster.ctx, cfg)
	if err != nil {
		_ = console.Close()
		return fmt.Errorf("boot %s: %w", n.name, err)
	}
	n.machine = m
	go func() {
		code, err := m.Wait()
		_ = console.Close()
		if !errors.Is(err, microvm.ErrKilled) {
			n.cluster.fail(fmt.Errorf("%s ended by itself (exit status %d, %v); what it said: %s", n.name, code, err, lastLines(console.Name())))
		}
	}()
	return nil
}

func (n *vm) stopKubelet(ctx context.Context) error {
	return n.do(ctx, "sh", "-c", "touch "+holdFile("kubelet")+" && kill -9 $(cat "+pidFile("kubelet")+")")
}

func (n *vm) startKubelet(ctx context.Context) error {
	return n.do(ctx, "rm", holdFile("kubelet"))
}

// load: the node sees the host's files.
func (n *vm) load(ctx context.Context, file string) error {
	return n.do(ctx, "ctr", "--namespace=k8s.io", "images", "import", "--local", file)
}

func (n *vm) kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine == nil {
		return nil
	}
	n.machine.Kill()
	<-n.machine.Done()
	n.machine = nil
	return nil
}

// run asks the program of the node that agent started.
func (n *vm) run(ctx context.Context, command []string) (output, warnings string, err error) {
	b, err := json.Marshal(command)
	if err != nil {
		return "", "", err
	}
	address := nodeIP(n.number) + ":" + agentPort
	if err := n.cluster.poll(ctx, n.name, 50*time.Millisecond, func(context.Context) error {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/run", bytes.NewReader(b))
	if err != nil {
		return "", "", err
	}
	// A connection kept from before a power cut is dead, which the request would
	// find out too late to be sent again.
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(resp.Body)
		return "", "", fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(why))
	}
	var ended result
	if err := json.NewDecoder(resp.Body).Decode(&ended); err != nil {
		return "", "", err
	}
	if ended.Error != "" {
		err = errors.New(ended.Error)
	}
	return string(ended.Output), string(ended.Warnings), err
}

// do runs a command for what it does.
func (n *vm) do(ctx context.Context, command ...string) error {
	output, warnings, err := n.run(ctx, command)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command[0], err, strings.TrimSpace(output+warnings))
	}
	return nil
}

// lastLines is the end of a log, on one line.
func lastLines(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}
