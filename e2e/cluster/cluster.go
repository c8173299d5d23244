// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// Config says what cluster to start.
type Config struct {
	// Programs is the folder that e2e/tools/build.sh filled.
	Programs string
	// Dir is a folder for keys and logs. It must exist and be empty.
	Dir string
	// Disks is a folder for the disks of nodes and the data of etcd; see
	// microvm.MakeFolder. It must exist and be empty.
	Disks string
	// Nodes is their number, at least 1.
	Nodes int
	// Images are archives (package image) that every node imports before its
	// kubelet starts. One of them must have the name Sandbox.
	Images []string
	// Sandbox is the image of the process that holds a pod's namespaces.
	Sandbox string
	// Memory of each node; "2G" when empty.
	Memory string
	// LVMDisks are the sizes in bytes of each node's empty disks for LVM: Node.LVMDisks.
	LVMDisks []int64
	// Audited are users of which the API server notes every request, in AuditLog.
	Audited []string
	// Kubelet has fields of the KubeletConfiguration beyond what every node needs.
	Kubelet map[string]any
	// Kind makes a cluster of kind; then Programs needs only kubectl, and Disks, Sandbox and
	// Memory are not used. Nil for microVMs.
	Kind *Kind
}

// scratchDisk is the size of a node's own disk, in bytes; it is sparse.
const scratchDisk = 8 << 30

// TypicalUse is what a node of a few pods writes to its own disk, in bytes.
const TypicalUse = 1 << 30

// Cluster is a running cluster.
type Cluster struct {
	// Client speaks to the API server as an administrator.
	Client kubernetes.Interface
	// Kubeconfig is the path of an administrator's.
	Kubeconfig string

	cfg       Config
	ctx       context.Context // ends, with a cause, when a part of the cluster ends
	fail      context.CancelCauseFunc
	authority *authority
	nodes     []*Node
	processes []*process
}

// Missing names what this host lacks for a cluster and the Debian packages that
// have it; nil when nothing is.
func Missing() error {
	lacking := microvm.Missing()
	for _, p := range []struct{ path, pkg string }{
		{"crun", "crun"},
		{"busybox", "busybox-static"},
		{"ip", "iproute2"},
		{"mkfs.ext4", "e2fsprogs"},
		{"mount", "mount"},
		{pluginFolder + "/ptp", "containernetworking-plugins"},
	} {
		if _, err := exec.LookPath(p.path); err != nil {
			lacking = errors.Join(lacking, fmt.Errorf("no %s here: apt-get install %s", p.path, p.pkg))
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		lacking = errors.Join(lacking, fmt.Errorf("no tap devices here: %w", err))
	}
	return lacking
}

// Start starts a cluster and returns when its API server answers; microVMs are
// still booting then, and the process must have been started by Isolate. The caller
// must call Close, also after an error, when the Cluster is not nil.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Nodes < 1 || cfg.Nodes > maxNodes {
		return nil, fmt.Errorf("%d nodes: want 1 to %d", cfg.Nodes, maxNodes)
	}
	if cfg.Memory == "" {
		cfg.Memory = "2G"
	}
	start := (*Cluster).startKind
	if cfg.Kind == nil {
		if err := Missing(); err != nil {
			return nil, err
		}
		if err := settle(ctx); err != nil {
			return nil, err
		}
		start = (*Cluster).startMachines
	}
	c := &Cluster{cfg: cfg}
	c.ctx, c.fail = context.WithCancelCause(context.Background())
	if err := os.MkdirAll(c.Logs(), 0o755); err != nil {
		return nil, err
	}
	if err := start(c, ctx); err != nil {
		return c, c.why(err)
	}
	return c, nil
}

// startMachines starts microVMs and a control plane of processes of this host.
func (c *Cluster) startMachines(ctx context.Context) error {
	for n := 1; n <= c.cfg.Nodes; n++ {
		node, err := c.newNode(ctx, n)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, node)
	}
	if err := makeNetwork(ctx, c.cfg.Nodes); err != nil {
		return err
	}
	if err := c.makeCredentials(); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	// A node takes longer than the control plane, which it needs last.
	for _, n := range c.nodes {
		if err := n.Boot(); err != nil {
			return err
		}
	}
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	return nil
}

// connect makes the client.
func (c *Cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // one client: nobody to be fair to
	config.WarningHandler = rest.NoWarnings{}
	c.Client, err = kubernetes.NewForConfig(config)
	return err
}

// Close ends all processes of the cluster at once, and deletes one of kind. Its folder stays.
func (c *Cluster) Close() {
	if c.cfg.Kind != nil {
		if err := c.closeKind(); err != nil {
			fmt.Println("clear up:", err)
		}
		c.fail(errors.New("the cluster was closed"))
		return
	}
	c.fail(errors.New("the cluster was closed"))
	for _, n := range c.nodes {
		n.Kill()
	}
	for _, p := range c.processes {
		p.kill()
	}
}

// Logs is the folder of all logs.
func (c *Cluster) Logs() string { return filepath.Join(c.cfg.Dir, "logs") }

// AuditLog has the requests of Config.Audited: an audit.k8s.io/v1 Event in JSON a line,
// at level Metadata.
func (c *Cluster) AuditLog() string { return filepath.Join(c.Logs(), "audit.log") }

// Nodes are the nodes, the first has number 1.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Kubectl runs kubectl as an administrator; stdin may be nil. The error has what
// it printed on stderr.
func (c *Cluster) Kubectl(ctx context.Context, stdin io.Reader, args ...string) (stdout string, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.cfg.Programs, "kubectl"), append([]string{"--kubeconfig=" + c.Kubeconfig}, args...)...)
	var out, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &complaints
	if err := cmd.Run(); err != nil {
		return out.String(), c.why(fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaints.String())))
	}
	return out.String(), nil
}

// poll calls f until it returns nil. Its last error says what was waited for.
func (c *Cluster) poll(ctx context.Context, what string, interval time.Duration, f func(context.Context) error) error {
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last: %w", what, context.Cause(ctx), err)
		case <-c.ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(c.ctx))
		case <-time.After(interval):
		}
	}
}

// why is the reason why a part of the cluster ended, if one did, else err.
func (c *Cluster) why(err error) error {
	if cause := context.Cause(c.ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}
