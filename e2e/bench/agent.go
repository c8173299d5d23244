// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	volumeGroup = "bench"
	kubeletDir  = "/var/lib/kubelet"
	httpAddress = "127.0.0.1:9808"

	volumeSize     = 64 << 20
	volumeQuantity = "64Mi"

	classes = `pools: [{name: bench, volumeGroup: ` + volumeGroup + `}]
classes: [{name: bench, pool: bench, default: true}]
`
)

// volume is an inline volume of a pod.
type volume struct{ pod, uid string }

func newVolume(n int) volume {
	return volume{pod: fmt.Sprintf("bench-%05d", n), uid: uuid.NewString()}
}

const volumeName = "data"

// handle is kubelet's makeVolumeHandle (kubernetes 1.36, pkg/volume/csi).
func (v volume) handle() string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(v.uid+volumeName)))
}

func (v volume) target() string {
	return filepath.Join(kubeletDir, "pods", v.uid, "volumes", "kubernetes.io~csi", volumeName, "mount")
}

// agent is a running podlv.
type agent struct {
	process *exec.Cmd
	conn    *grpc.ClientConn
	node    csi.NodeClient
	control csi.ControllerClient
}

// startAgent starts podlv with a text of classes and more environment, and waits until
// it answers. The reaper is put off: its report, one command in five minutes, is no
// publish's.
func startAgent(ctx context.Context, binary, dir, classes string, env []string, log io.Writer) (*agent, error) {
	config, socket := filepath.Join(dir, "classes.yaml"), filepath.Join(dir, "csi.sock")
	if err := os.WriteFile(config, []byte(classes), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "node", "--standalone", "--node-name=bench", "--config="+config, "--kubelet-dir="+kubeletDir,
		"--csi-socket="+socket, "--http-address="+httpAddress, "--reaper-interval=24h")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a := &agent{process: cmd}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	a.conn, a.node, a.control = conn, csi.NewNodeClient(conn), csi.NewControllerClient(conn)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := csi.NewIdentityClient(conn).Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true)); err != nil {
		return nil, errors.Join(fmt.Errorf("the agent does not answer: %w", err), a.stop())
	}
	return a, nil
}

// stop ends the agent as Kubernetes does.
func (a *agent) stop() error {
	if a.conn != nil {
		_ = a.conn.Close() // nothing is under way
	}
	if err := a.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return a.process.Wait()
}

// publish makes the folders that kubelet makes, then NodePublishVolume, which
// alone is timed.
func (a *agent) publish(ctx context.Context, v volume) (time.Duration, error) {
	if err := os.MkdirAll(filepath.Dir(v.target()), 0o750); err != nil {
		return 0, err
	}
	request := &csi.NodePublishVolumeRequest{
		VolumeId: v.handle(), TargetPath: v.target(),
		VolumeContext: map[string]string{
			"csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.name": v.pod,
			"csi.storage.k8s.io/pod.namespace": "default", "csi.storage.k8s.io/pod.uid": v.uid,
			"csi.storage.k8s.io/serviceAccount.name": "default", "size": volumeQuantity,
		},
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "ext4"}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
	}
	start := time.Now()
	_, err := a.node.NodePublishVolume(ctx, request)
	return time.Since(start), err
}

// unpublish is NodeUnpublishVolume, timed; then the pod's folder goes.
func (a *agent) unpublish(ctx context.Context, v volume) (time.Duration, error) {
	request := &csi.NodeUnpublishVolumeRequest{VolumeId: v.handle(), TargetPath: v.target()}
	start := time.Now()
	_, err := a.node.NodeUnpublishVolume(ctx, request)
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	// Folder by folder: RemoveAll would go into a volume that is still mounted.
	for dir := filepath.Dir(v.target()); filepath.Base(dir) != "pods"; dir = filepath.Dir(dir) {
		if err := os.Remove(dir); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// commands are lvm commands that the agent has run, by verb.
type commands map[string]verb

type verb struct {
	count   int
	seconds float64
}

// commands asks the agent's /metrics.
func (a *agent) commands(ctx context.Context) (commands, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+httpAddress+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", response.Status)
	}
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	return parseCommands(string(b))
}

// parseCommands reads podlv_lvm_command_duration_seconds in Prometheus' text
// format. Failed commands are commands too.
func parseCommands(metrics string) (commands, error) {
	line := regexp.MustCompile(`(?m)^podlv_lvm_command_duration_seconds_(count|sum)\{[^}]*verb="([^"]*)"[^}]*\} (\S+)$`)
	found := commands{}
	for _, m := range line.FindAllStringSubmatch(metrics, -1) {
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %q: %w", m[0], err)
		}
		v := found[m[2]]
		if m[1] == "count" {
			v.count += int(value)
		} else {
			v.seconds += value
		}
		found[m[2]] = v
	}
	if len(found) == 0 {
		return nil, errors.New("metrics: no lvm command in them, and every agent runs one at its start")
	}
	return found, nil
}

// since are the commands that came after others.
func (c commands) since(before commands) commands {
	more := commands{}
	for name, v := range c {
		if d := (verb{v.count - before[name].count, v.seconds - before[name].seconds}); d.count > 0 {
			more[name] = d
		}
	}
	return more
}

// total is the number of all commands.
func (c commands) total() int {
	n := 0
	for _, v := range c {
		n += v.count
	}
	return n
}

// memory is what a process holds, in KiB (proc_pid_status(5)).
type memory struct{ anonymous, resident int }

// memory reads the agent's.
func (a *agent) memory() (memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.process.Process.Pid))
	if err != nil {
		return memory{}, err
	}
	return parseMemory(string(b))
}

func parseMemory(status string) (m memory, err error) {
	for name, field := range map[string]*int{"RssAnon:": &m.anonymous, "VmRSS:": &m.resident} {
		_, rest, ok := strings.Cut(status, "\n"+name)
		words := strings.Fields(rest)
		if !ok || len(words) < 2 || words[1] != "kB" {
			return m, fmt.Errorf("process status: no %s in kB", name)
		}
		if *field, err = strconv.Atoi(words[0]); err != nil {
			return m, fmt.Errorf("process status: %s %w", name, err)
		}
	}
	return m, nil
}
