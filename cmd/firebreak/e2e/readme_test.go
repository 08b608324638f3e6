package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
)

// TestReadmeCommandsWork runs the README's commands against a federation
// started as `make demo` starts it.
func TestReadmeCommandsWork(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary and runs a federation for ten seconds")
	}
	dir, err := os.MkdirTemp("", "readme")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary := filepath.Join(dir, "firebreak")
	if out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Setenv("FIREBREAK_DEV", filepath.Join(dir, "dev"))
	stop := startDev(t, binary)
	defer stop()
	for _, line := range readmeBlock(t, "While the demo runs") {
		t.Run(line, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			follows := strings.Contains(line, " watch ")
			cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+strings.Replace(line, "bin/firebreak", binary, 1))
			out, err := cmd.CombinedOutput()
			if follows && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				err = nil // it follows until it is stopped
			}
			if err != nil || len(out) == 0 {
				t.Errorf("%v, output:\n%s", err, out)
			}
		})
	}
}

// startDev runs dev until stop, and returns once it is ready and complete.
func startDev(t *testing.T, binary string) (stop func()) {
	t.Helper()
	cmd := exec.Command(binary, "dev", "--traffic", "20/s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("dev: %v\n%s", err, log.String())
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for exec.CommandContext(ctx, binary, "where", "web").Run() != nil {
		if backoff.Wait(ctx, 100*time.Millisecond) != nil {
			stop()
			t.Fatalf("web is nowhere:\n%s", log.String())
		}
	}
	return stop
}

// readmeBlock returns the lines of the first shell block after a sentence.
func readmeBlock(t *testing.T, after string) []string {
	t.Helper()
	data, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), after)
	_, rest, ok2 := strings.Cut(rest, "```sh\n")
	block, _, ok3 := strings.Cut(rest, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("README has no shell block after %q", after)
	}
	return strings.Split(strings.TrimSpace(block), "\n")
}
