// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
	configv1 "k8s.io/kube-scheduler/config/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	schedulerscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/validation"

	"github.com/podlv/podlv/sim/controlplane/supervise"
)

// The parts of Kubernetes, as errors and logs name them.
const (
	apiServerName   = "kube-apiserver"
	schedulerName   = "kube-scheduler"
	controllersName = "kube-controller-manager"
)

// requestsPerSecond is the limit of a client of the control plane's own: there is
// nobody to be fair to, and a simulated second is to be short.
const requestsPerSecond = 5000

// The address that the API server says it has, of TEST-NET-1 (RFC 5737). It is asked
// for one that is not 127.0.0.1, and would otherwise need a machine with a network.
const advertised = "192.0.2.1"

// The controllers that run: those that a pod with a volume meets in a cluster, and
// those of the objects that make pods.
var controllerNames = []string{
	names.PersistentVolumeBinderController,
	names.PersistentVolumeExpanderController,
	names.PersistentVolumeClaimProtectionController,
	names.PersistentVolumeProtectionController,
	names.EphemeralVolumeController,
	names.GarbageCollectorController,
	names.NamespaceController,
	names.ResourceQuotaController,
	names.NodeLifecycleController,
	names.TaintEvictionController,
	names.PodGarbageCollectorController,
	names.DisruptionController,
	names.DaemonSetController,
	names.ReplicaSetController,
	names.DeploymentController,
	names.StatefulSetController,
	names.JobController,
	names.ServiceAccountController,
	names.ServiceAccountTokenController,
	names.RootCACertificatePublisherController, // the volume that ServiceAccount admission adds names its ConfigMap
	names.ClusterRoleAggregationController,     // without it the roles admin, edit and view are empty
}

// setFeatureGates sets those of the process, which all parts share: Kubernetes has
// no others.
func setFeatureGates(value string) error {
	// As every part does: registers what this process is a version of, once.
	registry := apiserveroptions.NewServerRunOptions().GenericServerRunOptions.ComponentGlobalsRegistry
	flags := pflag.NewFlagSet("feature gates", pflag.ContinueOnError)
	registry.AddFlags(flags)
	if value != "" {
		if err := flags.Set("feature-gates", value); err != nil {
			return err
		}
	}
	if err := registry.Set(); err != nil {
		return err
	}
	utilfeature.DefaultMutableFeatureGate.AddMetrics()
	registry.AddMetrics()
	return utilerrors.NewAggregate(registry.Validate())
}

// logToFile sends what all parts of Kubernetes log to logs/kubernetes.log: klog is
// one a process. The warnings that API servers send to clients are dropped, as each
// part does. When a part ends the process, stderr says where to read why.
func logToFile(c *config) (closeLog func(), err error) {
	f, err := os.Create(c.path("logs", "kubernetes.log"))
	if err != nil {
		return nil, err
	}
	l := logsapi.NewLoggingConfiguration()
	l.Verbosity = logsapi.VerbosityLevel(c.verbosity)
	if err := logsapi.ValidateAndApplyWithOptions(l, &logsapi.LoggingOptions{InfoStream: f, ErrorStream: f}, utilfeature.DefaultFeatureGate); err != nil {
		return nil, err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	klog.OsExit = func(status int) {
		fmt.Fprintf(os.Stderr, "podlv-control-plane: a part of Kubernetes ended the process with status %d; %s says why\n", status, f.Name())
		os.Exit(1)
	}
	return func() { klog.Flush(); f.Close() }, nil
}

// named gives what a part logs its name.
func named(ctx context.Context, part string) context.Context {
	return klog.NewContext(ctx, klog.Background().WithName(part))
}

// parse sets options by a part's own flags.
func parse(sets map[string]*pflag.FlagSet, args ...string) error {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, f := range sets {
		flags.AddFlagSet(f)
	}
	return flags.Parse(args)
}

// startAPIServer starts it on a listener of 127.0.0.1.
func startAPIServer(c *config, listener net.Listener, parts *supervise.Group) {
	parts.Go(apiServerName, func(ctx context.Context) error {
		o := apiserveroptions.NewServerRunOptions()
		pki := func(name string) string { return c.path("pki", name) }
		if err := parse(o.Flags().FlagSets,
			"--etcd-servers="+etcdURL,
			"--bind-address=127.0.0.1",
			"--secure-port="+strconv.Itoa(listener.Addr().(*net.TCPAddr).Port),
			"--advertise-address="+advertised, "--endpoint-reconciler-type=none",
			"--cert-dir="+pki(""),
			"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"), "--client-ca-file="+pki("ca.crt"),
			"--service-account-key-file="+pki("sa.pub"), "--service-account-signing-key-file="+pki("sa.key"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-cluster-ip-range=10.96.0.0/16",
			"--authorization-mode=RBAC", "--allow-privileged=true",
			"--disable-admission-plugins=TaintNodesByCondition", // see the package comment
		); err != nil {
			return err
		}
		o.SecureServing.Listener = listener
		completed, err := o.Complete(ctx)
		if err != nil {
			return err
		}
		if err := utilerrors.NewAggregate(completed.Validate()); err != nil {
			return err
		}
		return apiserver.Run(named(ctx, apiServerName), completed)
	})
}

// schedulerSettings is a scheduler's configuration that was checked.
type schedulerSettings struct {
	*schedulerconfig.KubeSchedulerConfiguration
}

// loadSchedulerConfig reads a file, or takes the defaults when there is none. The
// requests per second of a file count.
func loadSchedulerConfig(file string) (schedulerSettings, error) {
	if file == "" {
		s, err := latest.Default()
		if err == nil {
			s.ClientConnection.QPS, s.ClientConnection.Burst = requestsPerSecond, requestsPerSecond
		}
		return schedulerSettings{s}, err
	}
	s, err := scheduleroptions.LoadConfigFromFile(klog.Background(), file)
	if err != nil {
		return schedulerSettings{}, err
	}
	if err := validation.ValidateKubeSchedulerConfiguration(s); err != nil {
		return schedulerSettings{}, err
	}
	return schedulerSettings{s}, nil
}

func (c *config) schedulerFile() string { return c.path("kube-scheduler.yaml") }

// write writes the file that the scheduler reads: its own options replace a
// configuration that is given in memory by the default.
func (s schedulerSettings) write(c *config) error {
	s.ClientConnection.Kubeconfig = c.kubeconfigOf(schedulerName)
	s.LeaderElection.LeaderElect = false
	var b bytes.Buffer
	yaml, known := runtime.SerializerInfoForMediaType(schedulerscheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeYAML)
	if !known {
		return fmt.Errorf("write the scheduler's configuration: no %s", runtime.ContentTypeYAML)
	}
	if err := schedulerscheme.Codecs.EncoderForVersion(yaml.Serializer, configv1.SchemeGroupVersion).Encode(s.KubeSchedulerConfiguration, &b); err != nil {
		return fmt.Errorf("write the scheduler's configuration: %w", err)
	}
	return os.WriteFile(c.schedulerFile(), b.Bytes(), 0o600)
}

// startScheduler starts it; synced is closed when it has read the cluster.
func startScheduler(c *config, parts *supervise.Group) (synced <-chan struct{}) {
	done := make(chan struct{})
	parts.Go(schedulerName, func(ctx context.Context) error {
		ctx = named(ctx, schedulerName)
		o := scheduleroptions.NewOptions()
		if err := parse(o.Flags.FlagSets, "--config="+c.schedulerFile(), "--secure-port=0"); err != nil {
			return err
		}
		completed, s, err := scheduler.Setup(ctx, o)
		if err != nil {
			return err
		}
		go func() {
			if s.WaitForHandlersSync(ctx) == nil {
				close(done)
			}
		}()
		return scheduler.Run(ctx, completed, s)
	})
	return done
}

// startControllers starts the controllers.
func startControllers(c *config, parts *supervise.Group) {
	parts.Go(controllersName, func(ctx context.Context) error {
		ctx = named(ctx, controllersName)
		o, err := controlleroptions.NewKubeControllerManagerOptions()
		if err != nil {
			return err
		}
		known, off, aliases := controllers.KnownControllers(), controllers.ControllersDisabledByDefault(), controllers.ControllerAliases()
		sets := o.Flags(known, off, aliases)
		rate := strconv.Itoa(requestsPerSecond)
		if err := parse(sets.FlagSets,
			"--kubeconfig="+c.kubeconfigOf(controllersName),
			"--leader-elect=false", "--secure-port=0",
			"--use-service-account-credentials",
			"--service-account-private-key-file="+c.path("pki", "sa.key"), "--root-ca-file="+c.path("pki", "ca.crt"),
			"--kube-api-qps="+rate, "--kube-api-burst="+rate,
			"--node-monitor-grace-period="+c.nodeGrace.String(),
			"--controllers="+strings.Join(controllerNames, ","),
		); err != nil {
			return err
		}
		completed, err := o.Config(ctx, known, off, aliases)
		if err != nil {
			return err
		}
		return controllers.Run(ctx, completed.Complete())
	})
}
