package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// positive is a duration flag that must be above zero: an answer that nobody
// waits for looks like a server that is down.
type positive struct{ d *time.Duration }

// positiveVar registers a positive duration; a standard of zero stands for
// "not given".
func positiveVar(f *pflag.FlagSet, into *time.Duration, name string, standard time.Duration, usage string) {
	*into = standard
	f.Var(positive{into}, name, usage)
}

// Set is part of pflag.Value.
func (p positive) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("want a time above 0, as 10s or 1m30s")
	}
	*p.d = d
	return nil
}

// String is part of pflag.Value.
func (p positive) String() string {
	if p.d == nil || *p.d == 0 {
		return ""
	}
	return p.d.String()
}

// Type is part of pflag.Value.
func (positive) Type() string { return "duration" }

// offer completes a flag with the words that it takes.
func offer(c *cobra.Command, flag string, words ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // only for a flag that was not registered before
	}
}
