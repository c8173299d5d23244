// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podlv/podlv/sim/kind"
)

func cleanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "clean [CLUSTER…]",
		Short: "Show what runs with --target kind have left behind that were killed, or delete such clusters",
		Long: `Show the clusters and loop devices of runs with --target kind, also of those that go on,
or delete the clusters named, with their loop devices. A run that ends by itself, by an
error or by Ctrl-C leaves none.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			c := kind.Config{Provider: os.Getenv("KIND_EXPERIMENTAL_PROVIDER")}
			var wrong error
			for _, name := range names {
				if err := c.Remove(name); err != nil {
					wrong = errors.Join(wrong, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "deleted %s\n", name)
			}
			if len(names) > 0 {
				return wrong
			}
			clusters, devices, err := c.Leftovers()
			if err != nil {
				return err
			}
			for _, name := range clusters {
				fmt.Fprintf(cmd.OutOrStdout(), "cluster %s: delete it with podlv-sim clean %s\n", name, name)
			}
			for _, d := range devices {
				device, _, _ := strings.Cut(d, " ")
				fmt.Fprintf(cmd.OutOrStdout(), "loop device %s: when there is no such cluster any more, free it with losetup --detach %s\n", d, device)
			}
			return nil
		},
	}
}
