// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
)

// policiesFlags are the flags of podlv policies.
type policiesFlags struct {
	config              string
	storageClasses      []string
	defaultStorageClass string
	serviceAccount      string
	exempt              []string
	output              string
}

func policiesCommand() *cobra.Command {
	f := &policiesFlags{}
	cmd := &cobra.Command{
		Use:   "policies",
		Short: "Print the admission policies of these device classes, for kubectl apply",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "/etc/podlv/classes.yaml", "file of pools and device classes")
	flags.StringArrayVar(&f.storageClasses, "storage-class", nil, "NAME=CLASS: a StorageClass of podlv's and its device class, or NAME for the default one; once for each")
	flags.StringVar(&f.defaultStorageClass, "default-storage-class", "", "which of them is the cluster's default, if one is: what a claim means that names none")
	flags.StringVar(&f.serviceAccount, "service-account", "podlv-system/podlv", "NAMESPACE/NAME of the agents' ServiceAccount")
	flags.StringArrayVar(&f.exempt, "exempt-namespace", nil, "a namespace whose pods no policy looks at; once for each. The scheduler then does not know what their volumes take")
	flags.StringVar(&f.output, "output", "", "write to this file (default: stdout)")
	return cmd
}

func (f *policiesFlags) run(cmd *cobra.Command) error {
	source, err := driver.LoadClasses(f.config)
	if err != nil {
		return err
	}
	c := admission.Config{
		Classes: source.Get(), StorageClasses: map[string]string{}, DefaultStorageClass: f.defaultStorageClass, ExemptNamespaces: f.exempt,
	}
	c.AgentNamespace, c.AgentAccount, _ = strings.Cut(f.serviceAccount, "/")
	for _, s := range f.storageClasses {
		name, class, _ := strings.Cut(s, "=")
		if _, twice := c.StorageClasses[name]; twice {
			return fmt.Errorf("--storage-class %s: %q is there already", s, name)
		}
		c.StorageClasses[name] = class
	}
	objects, err := admission.Objects(c)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	fmt.Fprintln(&out, "# SPDX-License-Identifier: Apache-2.0\n# Made by podlv policies. DO NOT EDIT: change the device classes and run it again.")
	if err := admission.Print(&out, objects); err != nil {
		return err
	}
	if f.output == "" {
		_, err = out.WriteTo(cmd.OutOrStdout())
		return err
	}
	return os.WriteFile(f.output, out.Bytes(), 0o644) //nolint:gosec // anybody may read it
}
