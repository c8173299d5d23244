// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// reachTime is how long the server has to say that it is there.
	reachTime = 10 * time.Second
	// listTime is how long a page of a list may take.
	listTime = time.Minute
)

// Connect finds the cluster of a kubeconfig and asks whether it is there. context is that
// of the file to take, "" for its current one. The error names the file, the contexts that
// there are, or the server and what to look at.
func Connect(file, context string) (kubernetes.Interface, error) {
	raw, err := clientcmd.LoadFromFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("--kubeconfig %s: there is no such file", file)
	case err != nil:
		return nil, fmt.Errorf("--kubeconfig %s: this is no kubeconfig: %w", file, err)
	case len(raw.Contexts) == 0:
		return nil, fmt.Errorf("--kubeconfig %s: this is no kubeconfig, or an empty one: it has no contexts", file)
	}
	have := strings.Join(slices.Sorted(maps.Keys(raw.Contexts)), ", ")
	switch {
	case context != "" && raw.Contexts[context] == nil:
		return nil, fmt.Errorf("--context %q: %s has no such context; it has %s", context, file, have)
	case context == "" && raw.Contexts[raw.CurrentContext] == nil:
		return nil, fmt.Errorf("--kubeconfig %s: it has no current context; name one with --context: %s", file, have)
	}
	if err := clientcmd.ResolveLocalPaths(raw); err != nil { // of certificates, from the file's folder
		return nil, fmt.Errorf("--kubeconfig %s: %w", file, err)
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*raw, context, &clientcmd.ConfigOverrides{}, &clientcmd.ClientConfigLoadingRules{ExplicitPath: file}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", file, err)
	}
	config.UserAgent, config.QPS, config.Burst, config.WarningHandler = "podlv-sim import", 20, 40, rest.NoWarnings{}
	first := rest.CopyConfig(config)
	first.Timeout = reachTime
	probe, err := kubernetes.NewForConfig(first)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", file, err)
	}
	if _, err := probe.Discovery().ServerVersion(); err != nil {
		return nil, fmt.Errorf("the server %s of --kubeconfig %s does not answer as it should: %w; check that it runs, that this machine can reach it (VPN, proxy), and what kubectl --kubeconfig %s version says", config.Host, file, err, file)
	}
	config.Timeout = listTime
	return kubernetes.NewForConfig(config)
}
