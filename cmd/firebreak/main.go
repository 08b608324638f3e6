// Command firebreak plays every role of a fleet, runs a whole one for
// development, and is its operator's tool.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/benchcmd"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/checkpointcmd"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/cli"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/run"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Main(ctx, cli.Config{
		Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Version: version,
		Extra: []*cobra.Command{run.Command(version), dev.Command(version), benchcmd.Command(), checkpointcmd.Command()},
	}))
}
