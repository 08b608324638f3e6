package dev

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/ctl"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
)

// ctlCommand returns `firebreak dev ctl`.
func ctlCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "ctl COMMAND…",
		Short: "Break or mend the federation of a running dev",
		Long:  "Break or mend the federation of a running dev. Each command says what it does and what\nshould stay unaffected.\n\n" + fault.Usage,
		RunE: func(cmd *cobra.Command, words []string) error {
			c, err := fault.Parse(words)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			if data == "" {
				if data, err = devfile.DefaultDir(); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			err = ctl.Call(cmd.Context(), data, words, func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) })
			switch {
			case errors.Is(err, context.Canceled):
				return err
			case err != nil:
				return fmt.Errorf("%s: %w", c, err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "directory of the federation (default $"+devfile.EnvDir+", else firebreak/dev in $XDG_STATE_HOME)")
	return cmd
}
