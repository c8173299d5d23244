// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/existing"
	"github.com/podlv/podlv/sim/kube"
)

// targetFlags say on which cluster a scenario is run.
type targetFlags struct{ name, kubeconfig, image string }

// The targets.
const (
	onEmbedded   = "embedded"
	onKubeconfig = "kubeconfig"
)

func (f *targetFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.name, "target", onEmbedded, "the cluster: embedded (fake nodes in this process), or kubeconfig (one that has podlv already)")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "of --target kubeconfig: the file that says which cluster")
	flags.StringVar(&f.image, "image", existing.DefaultImage, "of --target kubeconfig: what pods run; it needs /bin/sh and sleep")
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
	case onKubeconfig:
		return existing.Config{Kubeconfig: f.kubeconfig, Image: f.image}.Start, nil
	}
	return nil, fmt.Errorf("--target %q: must be embedded or kubeconfig", f.name)
}
