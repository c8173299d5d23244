// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podlv/podlv/sim/schemas"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema " + strings.Join(schemas.Names(), "|"),
		Short:     "Print the JSON Schema of scenarios, for an editor, or of report.json",
		Args:      cobra.ExactArgs(1),
		ValidArgs: schemas.Names(),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := schemas.Read(args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("schema %q: must be %s", args[0], strings.Join(schemas.Names(), " or "))
			}
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
