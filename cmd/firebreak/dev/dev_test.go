package dev

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/run"
)

// asNode makes this binary a node's: a federation of processes starts it again
// with the arguments of `firebreak run`.
const asNode = "FIREBREAK_TEST_AS_NODE"

func TestMain(m *testing.M) {
	if os.Getenv(asNode) == "" {
		// Federations wait far more than they compute. A -parallel that is given counts.
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "firebreak"}
	root.AddCommand(run.Command("test"))
	root.SetArgs(os.Args[1:])
	os.Exit(exit.Code(root.ExecuteContext(ctx)))
}

// command runs `firebreak dev` in this process.
func command(t *testing.T, args ...string) (stdout string, code int, errText string) {
	t.Helper()
	cmd := Command("test")
	var out, progress bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	if err != nil {
		errText = err.Error()
	}
	if t.Failed() || testing.Verbose() {
		t.Log(progress.String())
	}
	return out.String(), exit.Code(err), errText
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
