// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/podlv/podlv/e2e/build"
	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// Plan is the environment variable that tells the inner half, which is this program again,
// what there is for it. In the outer half it is not set.
const Plan = "PODLV_LAB"

// Config says what lab to have.
type Config struct {
	// Name is the lab's, in the names of folders.
	Name string
	// Cache has the programs that e2e/tools/build.sh builds once; ~/.cache/podlv when empty.
	Cache string
	// Nodes is their number, at least 1; Memory what each has, "2G" when empty.
	Nodes  int
	Memory string
	// LVMDisks are the sizes in bytes of each node's empty disks: cluster.Node.LVMDisks.
	LVMDisks []int64
	// Kind, when set, says what cluster of kind to make in the place of microVMs; its Name and
	// FakeLVM are the lab's to fill in.
	Kind *cluster.Kind
	// Room is what all nodes may write to their disks together, in bytes.
	Room uint64
	// Bare is a cluster without podlv: its nodes have the image Busybox, and there is nothing
	// to install. Values, PodlvImage mean nothing then.
	Bare bool
	// Values is a file of values for the chart.
	Values string
	// PodlvImage is an archive of podlv's image, whose name must be PodlvImage, in place of one
	// of this source and this machine's programs.
	PodlvImage string
	// Audited are users of which the API server notes every request: see Cluster.AuditLog.
	Audited []string
	// Kubelet has fields of the nodes' KubeletConfiguration.
	Kubelet map[string]any
	// Build are further arguments of e2e/tools/build.sh, which builds more for them.
	Build []string
	// Prepare, when set, makes what else the inner half needs, in dir, with programs, the
	// folder of the cluster's, and gives the archives of further images. root is podlv's
	// source.
	Prepare func(ctx context.Context, root, dir, programs string) (images []string, err error) `json:"-"`
	// Out is a folder; the lab's logs are in it when it has ended, in "logs".
	Out string
}

// plan is what the outer half tells the inner one.
type plan struct {
	Config
	Programs string // folder of e2e/tools/build.sh's programs
	Dir      string // folder of the cluster, its images, its logs
	Disks    string // folder of its disks
	Images   []string
}

// Guest is the first thing that main does: a node of the lab is this program, too. Then it
// returns only when the node has failed, with true, and main ends.
func Guest(args []string) bool {
	microvm.GuestMain()
	if len(args) < 2 || args[1] != cluster.NodeCommand {
		return false
	}
	fmt.Fprintln(os.Stderr, cluster.NodeMain(args[2:]))
	return true
}

// Missing names what this machine lacks for a lab of microVMs, with the packages that have
// it.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster of microVMs needs root: it makes a network, and mounts")
	}
	return errors.Join(cluster.Missing(), missingForImages(realLVM))
}

// missing is Missing for the lab of this Config.
func (c Config) missing() error {
	if c.Kind == nil {
		return Missing()
	}
	return errors.Join(c.Kind.Missing(), missingForImages(nil))
}

// Build builds the cluster's programs, if they are not there, and what more is named (see
// Config), and returns their folder.
func Build(ctx context.Context, cache string, more ...string) (programs string, err error) {
	root, err := build.Root(ctx)
	if err != nil {
		return "", err
	}
	return build.Cluster(ctx, root, cache, more...)
}

// Run builds what the lab needs, runs this program again as its inner half, with the same
// arguments, and clears up. It returns that one's exit status.
func Run(ctx context.Context, c Config) (code int, err error) {
	if err := c.missing(); err != nil {
		return 1, err
	}
	root, err := build.Root(ctx)
	if err != nil {
		return 1, err
	}
	if c.Kind != nil {
		own := *c.Kind
		own.Name = c.Name + "-" + strings.ToLower(rand.Text()[:6])
		c.Kind, c.Build = &own, append([]string{"kind"}, c.Build...)
	}
	p := plan{Config: c}
	if p.Programs, err = build.Cluster(ctx, root, c.Cache, c.Build...); err != nil {
		return 1, err
	}
	if p.Out, err = filepath.Abs(c.Out); err != nil {
		return 1, err
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(p.Out, "logs")), os.MkdirAll(p.Out, 0o755)); err != nil {
		return 1, err
	}
	if p.Dir, err = os.MkdirTemp("", c.Name+"-"); err != nil {
		return 1, err
	}
	if c.Kind != nil {
		c.Kind.FakeLVM = filepath.Join(p.Dir, fakeProgram)
	} else if p.Disks, err = microvm.MakeFolder(c.Name, int64(c.Room)); err != nil {
		return 1, errors.Join(err, os.RemoveAll(p.Dir))
	}
	defer func() {
		if c.Kind != nil { // the inner half may have been killed
			err = errors.Join(err, c.Kind.Remove())
		}
		// Not os.CopyFS: it takes no links and no sockets.
		kept := exec.Command("cp", "-a", filepath.Join(p.Dir, "logs"), p.Out).Run()
		err = errors.Join(err, kept, os.RemoveAll(p.Dir), os.RemoveAll(p.Disks))
	}()
	if err := prepare(ctx, root, p); err != nil {
		return 1, err
	}
	if c.Prepare != nil {
		if p.Images, err = c.Prepare(ctx, root, p.Dir, p.Programs); err != nil {
			return 1, err
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return 1, err
	}
	if err := os.Setenv(Plan, string(text)); err != nil {
		return 1, err
	}
	run := cluster.Isolate
	if c.Kind != nil {
		run = cluster.Again
	}
	code, err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if ctx.Err() != nil {
		return 1, errors.New("interrupted; everything was cleared away")
	}
	return code, err
}

// prepare puts all files that the inner half needs into the lab's folder.
func prepare(ctx context.Context, root string, p plan) error {
	if p.Kind != nil {
		if err := build.FakeLVM(ctx, root, p.Kind.FakeLVM); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(p.Dir, imageFolder), 0o755); err != nil || p.Bare {
		return err
	}
	if p.PodlvImage == "" {
		if err := build.Podlv(ctx, root, filepath.Join(p.Dir, podlvProgram), "lab"); err != nil {
			return err
		}
	} else if err := copyFile(ImageFile(p.Dir, PodlvImage), p.PodlvImage); err != nil {
		return err
	}
	if err := keepCRDs(ctx, root, p.Dir); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(p.Dir, chartFolder), os.DirFS(filepath.Join(root, "deploy", "chart")))
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// snapshotClient is the module that has the CRDs of VolumeSnapshots.
const snapshotClient = "github.com/kubernetes-csi/external-snapshotter/client/v8"

// keepCRDs copies the CRDs of VolumeSnapshots out of their module.
func keepCRDs(ctx context.Context, root, dir string) error {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", snapshotClient)
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("where is %s? %w", snapshotClient, err)
	}
	if err := os.Mkdir(filepath.Join(dir, crdFolder), 0o755); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "config", "crd", "snapshot.storage.k8s.io_*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no CRDs in %s: %w", out, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, crdFolder, filepath.Base(f)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
