package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
)

func (e *env) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check a configuration file, or print an example", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(e.configCheckCommand(), e.configExampleCommand())
	return c
}

// RoleFlag registers --role on a command of this binary.
func RoleFlag(c *cobra.Command, into *string) {
	c.Flags().StringVar(into, "role", "", "region, global or router")
	words := make([]string, 0, len(config.Roles()))
	for _, r := range config.Roles() {
		words = append(words, string(r))
	}
	mustRequire(c, "role")
	offer(c, "role", words...)
}

func (e *env) configCheckCommand() *cobra.Command {
	var role string
	c := &cobra.Command{
		Use: "check FILE", Short: "Say everything that is wrong with a configuration file",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := config.ParseRole(role)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			if _, err := config.Load(r, args[0]); errors.Is(err, fs.ErrNotExist) {
				return exit.With(exit.Usage, err)
			} else if err != nil {
				return exit.With(exit.Usage, fmt.Errorf("this file is no configuration of a %s:\n%w", r, err))
			}
			_, err = fmt.Fprintf(e.out, "%s is a good configuration of a %s\n", args[0], r)
			return err
		},
	}
	RoleFlag(c, &role)
	return c
}

func (e *env) configExampleCommand() *cobra.Command {
	var role string
	c := &cobra.Command{
		Use: "example", Short: "Print a configuration file with every key",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r, err := config.ParseRole(role)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			_, err = fmt.Fprint(e.out, config.Example(r))
			return err
		},
	}
	RoleFlag(c, &role)
	return c
}
