// Package dev runs a whole federation on one machine, with real sockets and
// real certificates, feeds it with the churn of a fleet, and checks at the end
// that every tier shows exactly what is true.
package dev

import "github.com/spf13/cobra"

// Command returns `firebreak dev`.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:   "dev",
		Short: "Run a whole federation on this machine",
		Args:  cobra.NoArgs,
	}
}
