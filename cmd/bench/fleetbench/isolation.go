// Package fleetbench measures whole federations, run by the product's own
// binary: what a fault in one region does to the others (B25), and what an update costs
// in a region of 64 processes (B01-processes) and beside the incumbent (B27).
package fleetbench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/compare"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

// Benches returns the package's.
func Benches() []bench.Bench {
	return []bench.Bench{
		{Name: "B25", Title: "blast-isolation", Set: bench.Full, Long: 150 * time.Second, Run: isolation,
			About: "One of three regions at 100 × its writes, and one whose nodes are killed: no node of another region is touched. The same nodes as one cluster stand beside it."},
		{Name: "B01-processes", Title: "propagate-processes", Set: bench.Soak, Run: processes,
			About: "One region of 64 processes, 5 rows a second, all seen in time: at most 1.05 rows arrive per row first delivered, 64 bytes per exchange at rest; CPU and bytes beside memberlist's broadcast."},
		{Name: "B27", Title: "against-incumbent", Set: bench.Full, Quick: 60 * time.Second, Long: 200 * time.Second, Run: incumbent,
			About: "Regions of 3, 8, 16 and 30 processes beside Corrosion's agent, whose figures are constants: 10 × the updates a second at 16 and 30, a tenth of its CPU and an eighth of its bytes per update and node, a quarter of its disk, twice its start at most."},
	}
}

// isolation runs `firebreak dev compare`, which has a federation and one flat
// cluster suffer the same fault.
func isolation(ctx context.Context, b *bench.Bencher) error {
	workers, duration := 3, 20*time.Second
	if !b.Full() {
		workers, duration = 2, 8*time.Second
	}
	b.Note("3 regions of %d workers for %v each; poisoned and frozen regions, pinned CPUs and latencies are not in it", workers, duration)
	binary, err := build(ctx, b)
	if err != nil {
		return err
	}
	for _, fault := range []string{"storm", "kill"} {
		t, err := compared(ctx, binary, fault, workers, duration, b.Seed())
		if err != nil {
			return fmt.Errorf("%s: %w", fault, err)
		}
		b.Count(fault+": nodes of other regions that were touched", "", float64(max(0, t.TwoLevels.Touched-workers)), result.AtMost(0))
		b.Count(fault+": restarts in two levels", "", float64(t.TwoLevels.Restarts), result.Target{})
		b.Count(fault+": nodes touched in one cluster", "", float64(t.Flat.Touched), result.Target{})
		b.Count(fault+": rows written, one cluster to two levels", "×", ratio(t.Flat.Rows, t.TwoLevels.Rows), result.Target{})
		b.Count(fault+": bytes between nodes, one cluster to two levels", "×", ratio(t.Flat.Bytes, t.TwoLevels.Bytes), result.Target{})
		b.Count(fault+": failed requests in two levels", "%", 100*ratio(int64(t.TwoLevels.Failed), int64(t.TwoLevels.Requests)), result.Target{})
	}
	return nil
}

// ratio is zero if there is nothing to compare with.
func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// errNoSource is said where the bench does not run within the repository.
var errNoSource = errors.New("cannot build cmd/firebreak: run the bench within the repository, with Go at hand")

// build makes the binary of this tree.
func build(ctx context.Context, b *bench.Bencher) (string, error) {
	dir, err := b.DiskDir(256 << 20)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "firebreak")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/firebreak-dev/firebreak/cmd/firebreak").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %w: %s", errNoSource, err, strings.TrimSpace(string(out)))
	}
	return binary, nil
}

// compared runs the comparison of one fault.
func compared(ctx context.Context, binary, fault string, workers int, d time.Duration, seed uint64) (t compare.Table, err error) {
	cmd := exec.CommandContext(ctx, binary, "dev", "compare", "--fault", fault, "--workers", fmt.Sprint(workers), "--duration", d.String(), "--seed", fmt.Sprint(seed), "-o", "json")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return t, fmt.Errorf("dev compare: %w: %s", err, lastLine(errs.String()))
	}
	if err := json.Unmarshal(out, &t); err != nil {
		return t, fmt.Errorf("answer of dev compare: %w", err)
	}
	if t.Flat.Touched == 0 || t.TwoLevels.Nodes != 3*workers {
		return t, fmt.Errorf("the fault touched nobody: %+v", t)
	}
	return t, nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
