// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/existing"
	"github.com/podlv/podlv/sim/kind"
	"github.com/podlv/podlv/sim/kube"
)

// targetFlags say on which cluster a scenario is run.
type targetFlags struct{ name, kubeconfig, image, nodeImage string }

// The targets.
const (
	onEmbedded   = "embedded"
	onKind       = "kind"
	onKubeconfig = "kubeconfig"
)

func (f *targetFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.name, "target", onEmbedded, "the cluster: embedded (fake nodes in this process), kind (real kubelets in containers; it is made and deleted) or kubeconfig (one that has podlv already)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "of --target kubeconfig: the file that says which cluster")
	flags.StringVar(&f.nodeImage, "node-image", os.Getenv("KIND_NODE_IMAGE"), "of --target kind: the image of the nodes (default: $KIND_NODE_IMAGE, else kind's own)")
	flags.StringVar(&f.image, "image", existing.DefaultImage, "of --target kubeconfig: what pods run; it needs /bin/sh and sleep")
}

// kindConfig is what this process's environment says of kind.
func kindConfig() (kind.Config, error) {
	self, err := os.Executable()
	if err != nil {
		return kind.Config{}, err
	}
	programs, err := kind.Find(filepath.Dir(self))
	return kind.Config{Provider: os.Getenv("KIND_EXPERIMENTAL_PROVIDER"), Programs: programs}, err
}

// target is the one that the flags name. cache is the folder of built programs, "" for
// the default one; dir one for the target's state.
func (f *targetFlags) target(cache, dir string) (sim.Target, error) {
	switch {
	case f.name != onKubeconfig && f.kubeconfig != "":
		return nil, fmt.Errorf("--kubeconfig is for --target kubeconfig; this is --target %s", f.name)
	case f.name == onKubeconfig && f.kubeconfig == "":
		return nil, fmt.Errorf("--target kubeconfig needs --kubeconfig FILE: it makes pods there, so it does not guess which cluster you mean")
	}
	switch f.name {
	case onEmbedded:
		program, err := kube.Find(cache)
		if err != nil {
			return nil, err
		}
		state := filepath.Join(dir, "s")
		return sim.Embedded(program, state), os.Mkdir(state, 0o700)
	case onKind:
		c, err := kindConfig()
		c.NodeImage, c.Dir = f.nodeImage, dir
		return c.Start, err
	case onKubeconfig:
		return existing.Config{Kubeconfig: f.kubeconfig, Image: f.image}.Start, nil
	}
	return nil, fmt.Errorf("--target %q: must be embedded, kind or kubeconfig", f.name)
}
