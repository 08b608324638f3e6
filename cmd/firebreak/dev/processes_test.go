package dev

import (
	"errors"
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

func TestProcessesAreCheckedAsOneProcessIsAndADeadOneIsNamed(t *testing.T) {
	t.Parallel()
	binary := nodeBinary(t)
	for _, c := range []struct {
		name string
		kill bool
	}{{"all alive", false}, {"one killed", true}} {
		s := small(t, filepath.Join(t.TempDir(), "dev"))
		s.processes, s.binary, s.rate, s.exitAfter = true, binary, 50, time.Second
		var nodes []devfile.Node
		s.beforeCheck = func(*truth.Model) {
			dev, err := devfile.Read(s.data)
			if err != nil {
				t.Fatal(err)
			}
			nodes = dev.Nodes
			if c.kill {
				if err := syscall.Kill(dev.Of("region")[1].PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				s.checkWithin = time.Second
			}
		}
		err := s.run(t.Context())
		switch {
		case !c.kill && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.kill && (err == nil || !strings.Contains(err.Error(), "iad/iad-2: rpc error")):
			t.Errorf("%s: %v does not name the dead node", c.name, err)
		}
		seen := map[int]bool{os.Getpid(): true}
		for _, n := range nodes {
			if seen[n.PID] {
				t.Errorf("%s: %s has the process of another", c.name, n.Name)
			}
			seen[n.PID] = true
			if err := syscall.Kill(n.PID, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("%s: %s (pid %d) is still there: %v", c.name, n.Name, n.PID, err)
			}
		}
		if len(nodes) != 4 {
			t.Errorf("%s: %d nodes in dev.json", c.name, len(nodes))
		}
	}
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

func TestCtrlCWithAReportStillChecks(t *testing.T) {
	t.Parallel()
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.rate = 50
	db := filepath.Join(s.data, "iad", "iad-1", "node.db")
	during(t, s, func() bool { return s.ready() && liveRows(t, db) > 5 }, func() {})
	if r := readReport(t, s.report); !r.OK || len(r.Checks) == 0 {
		t.Errorf("report: ok %v, %d checks", r.OK, len(r.Checks))
	}
}
