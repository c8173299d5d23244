// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// pluginFolder is where Debian keeps the programs of the pod network.
const pluginFolder = "/usr/lib/cni"

// Folders of a node.
const (
	disk           = "/run/disk" // the scratch disk; it outlives a crash
	lvmConfig      = "/run/lvm-config"
	containerdSock = "/run/containerd/containerd.sock"
)

// result is how a command of Node.Run ended.
type result struct {
	Output, Warnings []byte
	Error            string `json:",omitempty"`
}

// NodeMain is the first program of a node's machine: it makes the machine a node
// and serves Node.Run. It returns only when it cannot.
func NodeMain(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one argument, a file; got %q", args)
	}
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var s nodeSpec
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	ctx := context.Background()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"disks", s.disks},
		{"network", s.network},
		{"agent", s.agent},
		{"cgroup", makeSystemGroup},
		{"containerd", s.containerd},
		{"images", s.images},
		{"clock speed", s.clockSpeed},
		{"kubelet", s.kubelet},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("%s done, %s after boot\n", step.name, uptime())
	}
	select {} // the machine lives until its power is cut
}

// disks puts /var on the scratch disk, which overlayfs and kubelet need and a
// crash does not empty, and lets lvm see the other disks only.
func (s *nodeSpec) disks(context.Context) error {
	if err := os.MkdirAll(disk, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(microvm.DiskNames(1)[0], disk, "ext4", 0, ""); err != nil {
		return err
	}
	for _, d := range []struct{ on, at string }{{"/lib", "/var/lib"}, {"/log", "/var/log"}} {
		if err := os.MkdirAll(disk+d.on, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(disk+d.on, d.at, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/var/lib/kubelet", "/var/lib/cni", "/run/cni", disk + "/containerd"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(lvmConfig+"/lvm.conf", []byte(microvm.LVMConfig(s.LVMDisks, false)), 0o644)
}

func (s *nodeSpec) network(ctx context.Context) error {
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return err
	}
	for _, c := range []string{"link set vec0 up", "addr add " + s.IP + "/24 dev vec0", "route add default via " + hostIP} {
		if err := ip(ctx, c); err != nil {
			return err
		}
	}
	conf := map[string]any{
		"cniVersion": "1.0.0", "name": "ptp",
		"plugins": []any{map[string]any{"type": "ptp", "ipam": map[string]any{
			// In memory: after a crash no pod has its address any more.
			"type": "host-local", "dataDir": "/run/cni-addresses",
			"ranges": []any{[]any{map[string]any{"subnet": s.PodCIDR}}},
			"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
		}}},
	}
	return writeJSON("/run/cni/10-ptp.conflist", conf)
}

// containerd starts it and waits until it answers.
func (s *nodeSpec) containerd(ctx context.Context) error {
	config := fmt.Sprintf(`version = 3
root = %q
state = "/run/containerd"
[grpc]
address = %q
[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %q
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [%q]
conf_dir = "/run/cni"
use_internal_loopback = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = %q
SystemdCgroup = false
`, disk+"/containerd", containerdSock, s.Sandbox, pluginFolder, runtimePath)
	if err := makeRuntime(); err != nil {
		return err
	}
	if err := os.WriteFile("/run/containerd.toml", []byte(config), 0o644); err != nil {
		return err
	}
	if err := s.keepRunning("containerd", "--config=/run/containerd.toml"); err != nil {
		return err
	}
	// Without a program: starting one takes longer here than containerd itself.
	return wait(ctx, 30*time.Second, func() error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", containerdSock)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// images imports them, on the first boot only: they are on the scratch disk.
func (s *nodeSpec) images(ctx context.Context) error {
	const done = disk + "/images-imported"
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	for _, i := range s.Images {
		// They may be made while the machine boots.
		if err := wait(ctx, time.Minute, func() error { _, err := os.Stat(i); return err }); err != nil {
			return err
		}
		// --local: through containerd's transfer service it takes three times as long.
		if err := run(ctx, "ctr", "--namespace=k8s.io", "images", "import", "--local", i); err != nil {
			return err
		}
		fmt.Printf("imported %s, %s after boot\n", filepath.Base(i), uptime())
	}
	unix.Sync() // containerd does not: a crash soon after would leave half an image
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

// clockSpeed shows kubelet's cadvisor a /proc/cpuinfo with a clock speed, which it
// insists on and a User-Mode Linux does not print.
func (s *nodeSpec) clockSpeed(context.Context) error {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	text := strings.TrimRight(string(b), "\n") + "\ncpu MHz\t\t: 2000.000\n\n"
	if err := os.WriteFile("/run/cpuinfo", []byte(text), 0o644); err != nil {
		return err
	}
	return unix.Mount("/run/cpuinfo", "/proc/cpuinfo", "", unix.MS_BIND, "")
}

// kubelet starts it when the API server answers: one that starts earlier backs off.
func (s *nodeSpec) kubelet(ctx context.Context) error {
	pki := func(name string) string { return filepath.Join(s.PKI, name) }
	config := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": false},
			"x509": map[string]any{"clientCAFile": pki("ca.crt")},
		},
		"authorization": map[string]any{"mode": "AlwaysAllow"},
		// kubelet does not sync the certificate that it makes itself: a crash soon
		// after would leave it empty.
		"tlsCertFile": pki(s.Name + ".crt"), "tlsPrivateKeyFile": pki(s.Name + ".key"),
		"cgroupDriver":                  "cgroupfs", // no systemd here
		"containerRuntimeEndpoint":      "unix://" + containerdSock,
		"failSwapOn":                    false,
		"resolvConf":                    "",
		"evictionHard":                  map[string]any{},
		"localStorageCapacityIsolation": false,
		"enforceNodeAllocatable":        []string{},
		"makeIPTablesUtilChains":        false, // no Services here
	}
	maps.Copy(config, s.Kubelet)
	if err := writeJSON("/run/kubelet.json", config); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: time.Second} //nolint:gosec // asked for readiness only
	if err := wait(ctx, time.Minute, func() error {
		resp, err := client.Get("https://" + hostIP + ":" + apiPort + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("the API server: %w", err)
	}
	return s.keepRunning("kubelet", "--config=/run/kubelet.json", "--kubeconfig="+pki(s.Name+".conf"),
		"--hostname-override="+s.Name, "--node-ip="+s.IP, "--root-dir=/var/lib/kubelet", "--housekeeping-interval=60s", "-v=2")
}

// pidFile has the process id of a program of the node. While there is a holdFile, the
// program is not started again when it ends.
func pidFile(program string) string  { return "/run/" + program + ".pid" }
func holdFile(program string) string { return "/run/" + program + ".hold" }

// systemGroup is the cgroup of kubelet and containerd. In the root cgroup each of their threads
// would weigh more than all pods together, and the agent's lvm would hardly run while pods start.
const systemGroup = "/sys/fs/cgroup/system.slice"

func makeSystemGroup(context.Context) error {
	if err := os.MkdirAll(systemGroup, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Dir(systemGroup)+"/cgroup.subtree_control", []byte("+cpu"), 0o644)
}

// keepRunning starts a program and starts it again when it ends, in a cgroup beside that of
// the pods, as systemd does.
func (s *nodeSpec) keepRunning(name string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(s.Logs, name+".log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	group, err := os.Open(systemGroup)
	if err != nil {
		return err
	}
	start := func() (*exec.Cmd, error) {
		cmd := exec.Command(name, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
		cmd.Stdout, cmd.Stderr = log, log
		cmd.Env = append(os.Environ(), "GOGC=400") // memory is there, time is short
		if err := cmd.Start(); err != nil {
			return cmd, err
		}
		return cmd, os.WriteFile(pidFile(name), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
	}
	cmd, err := start()
	if err != nil {
		return err
	}
	go func() {
		for {
			if err == nil {
				err = cmd.Wait()
			}
			fmt.Printf("%s ended: %v; it starts again\n", name, err)
			time.Sleep(time.Second)
			for held := true; held; time.Sleep(50 * time.Millisecond) {
				_, err := os.Stat(holdFile(name))
				held = err == nil
			}
			cmd, err = start()
		}
	}()
	return nil
}

// agent answers Node.Run from now on.
func (s *nodeSpec) agent(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", func(w http.ResponseWriter, r *http.Request) {
		var command []string
		if err := json.NewDecoder(r.Body).Decode(&command); err != nil || len(command) == 0 {
			http.Error(w, "want a list of words", http.StatusBadRequest)
			return
		}
		var out, warnings bytes.Buffer
		cmd := exec.CommandContext(r.Context(), command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr = &out, &warnings
		err := cmd.Run()
		ended := result{Output: out.Bytes(), Warnings: warnings.Bytes()}
		if err != nil {
			ended.Error = err.Error()
		}
		_ = json.NewEncoder(w).Encode(ended)
	})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.IP+":"+agentPort)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { fmt.Println("the agent ended:", server.Serve(listener)) }()
	return nil
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// wait calls f until it returns nil, ten times a second.
func wait(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, fs.FileMode(0o644))
}

// uptime is the time since the kernel started.
func uptime() string {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return err.Error()
	}
	seconds, _, _ := strings.Cut(string(b), " ")
	return seconds + " s"
}
