package dev

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/ctl"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
)

// isStatus tells the one command that breaks nothing.
func isStatus(words []string) bool { return len(words) == 1 && words[0] == "status" }

const statusUsage = "\n  status                         what a terminal shows below the progress, once"

// ctlCommand returns `firebreak dev ctl`.
func ctlCommand() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:   "ctl COMMAND…",
		Short: "Break or mend the federation of a running dev",
		Long:  "Break or mend the federation of a running dev. Each command says what it does and what\nshould stay unaffected.\n\n" + fault.Usage + statusUsage,
		RunE: func(cmd *cobra.Command, words []string) error {
			if !isStatus(words) {
				if _, err := fault.Parse(words); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			var err error
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
				return fmt.Errorf("%s: %w", strings.Join(words, " "), err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "directory of the federation (default $"+devfile.EnvDir+", else firebreak/dev in $XDG_STATE_HOME)")
	return cmd
}
