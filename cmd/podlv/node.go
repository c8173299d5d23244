// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

// standaloneRemedy is what helps an agent that does not reach the API server.
const standaloneRemedy = "use --kubeconfig, or --standalone without one"

// nodeFlags are the flags of podlv node.
type nodeFlags struct {
	name       string
	namespace  string
	config     string
	kubeletDir string
	socket     string
	kubeconfig string
	standalone bool
	http       string
	lvmPath    string
	logLevel   string
	reaper     driver.ReaperConfig
}

func nodeCommand() *cobra.Command {
	f := &nodeFlags{reaper: driver.DefaultReaper()}
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Run the agent of a node: CSI services, kubelet registration, provisioning, reaper",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "node-name", "", "name of this Kubernetes node (required)")
	flags.StringVar(&f.namespace, "namespace", "podlv-system", "namespace of the CSIStorageCapacity objects: the agent's own")
	flags.StringVar(&f.config, "config", "/etc/podlv/classes.yaml", "file of pools and device classes; it is read again when it changes")
	flags.StringVar(&f.kubeletDir, "kubelet-dir", "/var/lib/kubelet", "kubelet's folder, at the same path as on the host")
	flags.StringVar(&f.socket, "csi-socket", "", "path of the CSI socket, as kubelet sees it (default KUBELET-DIR/plugins/podlv.dev/csi.sock)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default: the pod's service account)")
	flags.BoolVar(&f.standalone, "standalone", false, "run without a Kubernetes API and without registration at a kubelet: no events, no waiting for pods that end; the reaper trusts kubelet's folders alone, and leaves the volumes of claims")
	flags.StringVar(&f.http, "http-address", "", "address for /metrics, /healthz and /readyz, such as :9808 (default: not served)")
	flags.StringVar(&f.lvmPath, "lvm", "lvm", "the lvm program")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.DurationVar(&f.reaper.Interval, "reaper-interval", f.reaper.Interval, "time between the reaper's passes; 0 turns it off")
	flags.DurationVar(&f.reaper.MinAge, "reaper-min-age", f.reaper.MinAge, "how old an LV without a pod or claim must be to be removed")
	flags.IntVar(&f.reaper.Passes, "reaper-passes", f.reaper.Passes, "passes in a row that must find an LV without a pod or claim; the ones before the last only report it")
	flags.BoolVar(&f.reaper.DryRun, "reaper-dry-run", f.reaper.DryRun, "report LVs without a pod or claim, never remove them")
	_ = cmd.MarkFlagRequired("node-name") // fails only for a flag that does not exist
	return cmd
}

func (f *nodeFlags) run(ctx context.Context, cmd *cobra.Command) error {
	log, err := newLog(cmd, f.logLevel)
	if err != nil {
		return err
	}
	classes, err := driver.LoadClasses(f.config)
	if err != nil {
		return err
	}
	linux := driver.NewLinux()
	config := driver.Config{
		NodeName: f.name, Version: version, Socket: f.socket, HTTPAddress: f.http,
		Classes: classes, Runner: lvm.Exec{Path: f.lvmPath}, Stamp: lvm.Stamp, Mounter: linux, Devices: linux, Disks: linux, Filesystem: linux,
		Kubelet: driver.NewKubeletWitness(f.kubeletDir),
		Reaper:  f.reaper, Clock: clock.RealClock{}, Log: log,
	}
	if config.Socket == "" {
		config.Socket = filepath.Join(f.kubeletDir, "plugins", driver.Name, "csi.sock")
	}
	config.Reaper.WithoutAPI = f.standalone
	if !f.standalone {
		client, err := newClient(f.kubeconfig, standaloneRemedy)
		if err != nil {
			return err
		}
		shared, err := driver.Shared(f.kubeletDir)
		if err != nil {
			return fmt.Errorf("--kubelet-dir: %w", err)
		}
		if !shared {
			return fmt.Errorf("--kubelet-dir %s: what is mounted here is not seen by the rest of the node, and pods would write to the node's own disk: mount it into the container at the same path with mountPropagation: Bidirectional", f.kubeletDir)
		}
		broadcaster := record.NewBroadcaster(record.WithContext(ctx))
		defer broadcaster.Shutdown()
		broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
		config.RegistrationDir = filepath.Join(f.kubeletDir, "plugins_registry")
		config.Pods = driver.NewPods(client, f.name)
		factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(driver.Trim))
		onNode := informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", f.name).String()
		})
		podFactory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(driver.Trim), onNode)
		config.Cluster = &driver.Cluster{
			Client: client, Namespace: f.namespace, Pods: podFactory.Core().V1().Pods(),
			Start: func(stop <-chan struct{}) { factory.Start(stop); podFactory.Start(stop) }, Claims: factory.Core().V1().PersistentVolumeClaims(),
			Volumes: factory.Core().V1().PersistentVolumes(), Classes: factory.Storage().V1().StorageClasses(),
		}
		if err := f.addSnapshots(config.Cluster, client, log); err != nil {
			return err
		}
		klog.SetSlogLogger(log) // the provisioner's, which has no other way to say anything
		config.Events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: driver.Name, Host: f.name})
	}
	agent, err := driver.New(config)
	if err != nil {
		return err
	}
	return agent.Run(ctx)
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check-config FILE",
		Short: "Check a file of pools and device classes, and name every problem",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := driver.LoadClasses(args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", filepath.Base(args[0]))
			return nil
		},
	}
}
