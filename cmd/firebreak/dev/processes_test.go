package dev

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
)

func TestADeadProcessIsNamedAndNoneIsLeft(t *testing.T) {
	t.Parallel()
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.processes, s.binary, s.rate, s.exitAfter = true, nodeBinary(t), 50, time.Second
	var nodes []devfile.Node
	s.beforeCheck = func(*truth.Model) {
		dev, err := devfile.Read(s.data)
		if err != nil {
			t.Fatal(err)
		}
		nodes = dev.Nodes
		if err := syscall.Kill(dev.Of("region")[1].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.checkWithin = time.Second
	}
	if err := s.run(t.Context()); err == nil || !strings.Contains(err.Error(), "iad/iad-2: rpc error") {
		t.Errorf("%v does not name the dead node", err)
	}
	seen := map[int]bool{os.Getpid(): true}
	for _, n := range nodes {
		if seen[n.PID] {
			t.Errorf("%s has the process of another", n.Name)
		}
		seen[n.PID] = true
	}
	if len(nodes) != 4 {
		t.Errorf("%d nodes in dev.json", len(nodes))
	}
	checkNothingLeft(t, s.data)
}

func TestAMassWithdrawalThatTheBrakeHoldsIsReportedAsHeld(t *testing.T) {
	t.Parallel()
	var rows strings.Builder
	rows.WriteString("id,app,create,delete\n")
	for i := range 50 {
		end := ""
		if i < 45 {
			end = "2"
		}
		fmt.Fprintf(&rows, "m%d,app-%d,,%s\n", i, i, end)
	}
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.enforce = true
	var f flags
	f.trace, f.traceUntil, f.traceSpeed = writeFile(t, rows.String()), "3", 10
	var err error
	if s.replay, err = f.parseReplay(map[string]bool{"trace-until": true}); err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range readReport(t, s.report).Checks {
		if c.Name == "directory global-1" && !strings.Contains(c.Detail, "held by the brake: iad/app-") {
			t.Errorf("nothing is said to be held: %s", c.Detail)
		}
	}
}
