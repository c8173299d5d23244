// SPDX-License-Identifier: Apache-2.0

// Command controlplane runs the control plane of a Kubernetes cluster in one process,
// for podlv's simulator: etcd, kube-apiserver, the unmodified kube-scheduler and the
// controllers of kube-controller-manager that pods and their volumes need. There is
// no node in it, no kubelet, and nothing leaves 127.0.0.1.
//
// It is built as podlv-control-plane (make controlplane) and started by package
// sim/kube of the main module as a child process. It cannot be part of another
// program: Kubernetes has one set of feature gates, metrics and logging a process,
// and panics beside external-provisioner, which podlv links
// ("feature gate VolumeAttributesClass with different spec already exists").
//
// # Contract
//
//	podlv-control-plane --dir=DIR [--feature-gates=A=true,...] [--scheduler-config=FILE] ...
//
// DIR must exist and be empty. When everything works, it prints one line on stdout:
//
//	ready KUBECONFIG=DIR/kubeconfig
//
// It ends with status 0 on SIGTERM or SIGINT (a second one ends it at once), when
// stdin is a pipe or a socket and the other end is closed, and when its parent is
// gone. When a part ends earlier, or a flag is wrong, it ends with status 1, and
// stderr says which and why. What is in DIR stays: it is the caller's.
//
//	DIR/kubeconfig         an administrator's (system:masters), complete in itself
//	DIR/kube-scheduler.yaml what the scheduler runs with
//	DIR/pki/               keys, certificates, kubeconfigs of the parts
//	DIR/etcd/, etcd.sock   the data, which is never synced to the disk
//	DIR/logs/              etcd.log and kubernetes.log, of all other parts
//
// # What differs from a cluster
//
//   - No kubelet makes a node Ready, so the admission plugin TaintNodesByCondition is
//     off: it would taint a new node until its kubelet reports. The node-lifecycle
//     controller runs: whoever makes a node sets its Ready condition and renews its
//     Lease in kube-node-lease, or after --node-monitor-grace-period the node is
//     unreachable, and its pods are evicted.
//   - A pod that is deleted stays until somebody plays kubelet and deletes it with a
//     grace period of 0; one without a node goes at once.
//   - No controller attaches volumes, makes endpoints or signs certificates.
//   - RBAC is on, and ServiceAccount admission: every part has its own role, and a new
//     namespace takes pods only when its service account is there.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/component-base/version"

	"github.com/podlv/podlv/sim/controlplane/supervise"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	// Kubernetes' packages put flags into the process's own set when they are
	// imported, and cobra would accept them here.
	pflag.CommandLine = pflag.NewFlagSet("", pflag.ContinueOnError)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process: it gives the exit status.
func run(ctx context.Context, args []string, stdin *os.File, stdout, stderr io.Writer) int {
	var c config
	cmd := &cobra.Command{
		Use:           "podlv-control-plane --dir=DIR",
		Short:         "A Kubernetes control plane in one process, without nodes",
		Version:       "of Kubernetes " + version.Get().GitVersion,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				if supervise.Orphaned(ctx, stdin, os.Getppid, time.Second) != nil {
					cancel()
				}
			}()
			return runControlPlane(ctx, c, stdout)
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	flags := cmd.Flags()
	flags.StringVar(&c.dir, "dir", "", "folder for state, keys and logs; it must exist and be empty (required)")
	flags.StringVar(&c.featureGates, "feature-gates", "", "feature gates of all parts, such as A=true,B=false")
	flags.StringVar(&c.schedulerConfig, "scheduler-config", "", "file with a KubeSchedulerConfiguration; its kubeconfig and leader election are replaced (default: the scheduler's own defaults, with 5000 requests per second)")
	flags.DurationVar(&c.nodeGrace, "node-monitor-grace-period", 50*time.Second, "how long a node may leave its Lease alone before it counts as unreachable")
	flags.IntVar(&c.verbosity, "verbosity", 0, "detail of DIR/logs/kubernetes.log, 0 to 10, as -v of Kubernetes' programs")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	cmd.SetArgs(args)
	cmd.SetIn(stdin)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	if err := cmd.ExecuteContext(ctx); err != nil && !errors.Is(err, errTold) {
		fmt.Fprintln(stderr, "podlv-control-plane:", err)
		return 1
	}
	return 0
}
