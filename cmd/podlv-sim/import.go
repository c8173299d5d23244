// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/podlv/podlv/sim/importer"
)

// importFlags are the flags of podlv-sim import.
type importFlags struct {
	kubeconfig, context, outFile string
	labels                       []string
	anonymize                    bool
}

func importCommand() *cobra.Command {
	f := &importFlags{}
	cmd := &cobra.Command{
		Use:   "import --kubeconfig FILE",
		Short: "Make a scenario of a live cluster, which is only read: its nodes, volumes and pods, where they are",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; its user needs to list nodes, pods, claims, volumes, StorageClasses and CSIStorageCapacity objects")
	flags.StringVar(&f.context, "context", "", "context of the kubeconfig to take; default: its current one")
	flags.BoolVar(&f.anonymize, "anonymize", false, "replace all names, and the values of labels")
	flags.StringArrayVar(&f.labels, "label", nil, "a label of nodes to keep, beside those that pods select by; once for each")
	flags.StringVarP(&f.outFile, "out-file", "o", "cluster.yaml", "file to write, - for the standard output")
	_ = cmd.MarkFlagRequired("kubeconfig") // it is a flag
	return cmd
}

func (f *importFlags) run(cmd *cobra.Command) error {
	client, err := importer.Connect(f.kubeconfig, f.context)
	if err != nil {
		return err
	}
	r, err := importer.Import(cmd.Context(), client, importer.Options{Anonymize: f.anonymize, Labels: f.labels, Now: time.Now()})
	if err != nil {
		return err
	}
	if f.outFile == "-" {
		_, err = cmd.OutOrStdout().Write(r.YAML)
	} else {
		err = os.WriteFile(f.outFile, r.YAML, 0o600)
	}
	if err != nil {
		return fmt.Errorf("--out-file: %w", err)
	}
	say := cmd.ErrOrStderr()
	fmt.Fprintf(say, "%d nodes, %d pods and %d persistent volumes were imported", r.Nodes, r.Pods, r.Volumes)
	if f.outFile != "-" {
		fmt.Fprintf(say, " into %s", f.outFile)
	}
	fmt.Fprintln(say)
	for _, n := range r.Notes {
		fmt.Fprintln(say, "note:", n)
	}
	return nil
}
