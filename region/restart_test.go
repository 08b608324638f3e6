package region_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region"
)

// While a known node has not received an end, its row stays: that node would
// bring the claim back as news otherwise.
func TestEndIsNotRemovedWhileANodeIsMissing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2", "w3")
	c.together()
	n := c.nodes["w1"]
	w := n.publish(mach("m1", "web"))
	for _, o := range c.nodes {
		o.list("web", w.GetPoints()...)
	}
	c.nodes["w3"].stop()
	n.withdraw("m1")
	eventually(t, "w1 waits for w3", func() bool { return len(n.list("web")) == 0 })
	n.publish(mach("m2", "web")) // and that is no reason not to work
	c.start("w3")
	for _, o := range c.nodes {
		eventually(t, "the row is gone on "+o.name, func() bool {
			rows, _, err := o.query(`SELECT id, state FROM fleet_machines`)
			return err == nil && len(rows) == 1 && rows[0][0] == "m2"
		})
	}
}

func TestWatchFollowsAndResumesOverARestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2")
	c.together()
	n := c.nodes["w2"]
	c.nodes["w1"].publish(mach("m1", "web"))
	n.list("web", c.nodes["w1"].publish(mach("m2", "web")).GetPoints()...)

	position := followWatch(t, n, nil, "m1", "m2")
	w := c.nodes["w1"].publish(mach("m3", "web"))
	n.list("web", w.GetPoints()...)
	n.stop()
	n = c.start("w2")
	followWatch(t, n, position, "m3")
}

// followWatch watches web and returns the position at the synced event; ids are the
// machines that are told until then.
func followWatch(t *testing.T, n *node, position []byte, ids ...string) []byte {
	t.Helper()
	s, err := n.daemon.Watch(within(t, 15*time.Second), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*regionv1.WatchRequest{
		{Part: &regionv1.WatchRequest_Hello{Hello: &regionv1.WatchHello{Client: "test"}}},
		{Part: &regionv1.WatchRequest_Add{Add: &regionv1.WatchInterest{Id: 1, What: &regionv1.WatchInterest_App{App: "web"}, Position: position}}},
	} {
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	told := map[string]bool{}
	for {
		ev, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		switch e := ev.GetEvent().(type) {
		case *regionv1.WatchResponse_Machine:
			told[e.Machine.GetId()] = true
		case *regionv1.WatchResponse_Resync:
			t.Errorf("resync: %s", e.Resync.GetReason())
		case *regionv1.WatchResponse_Synced:
			for _, id := range ids {
				if !told[id] {
					t.Errorf("told %v, want %v", told, ids)
				}
			}
			if len(told) != len(ids) {
				t.Errorf("told %v, want %v", told, ids)
			}
			_ = s.CloseSend()
			return ev.GetPosition()
		}
	}
}

// A node is not its host: when it stops, its machines are suspect, and not a
// row is written for it.
func TestStoppedNodeMakesItsMachinesSuspectAndWritesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2", "w3")
	c.together()
	w := c.nodes["w1"].publish(mach("m1", "web"))
	n := c.nodes["w2"]
	n.list("web", w.GetPoints()...)
	for _, o := range c.nodes {
		o.n.StopProbes()
	}
	eventually(t, "the region is quiet", func() bool { return n.status().GetRoot() == c.nodes["w3"].status().GetRoot() })
	rows := n.status().GetRows()
	c.nodes["w1"].stop()
	eventually(t, "m1 is suspect", func() bool {
		got := n.list("web")
		return len(got) == 1 && got[0].GetSuspect() && got[0].GetRoutable()
	})
	if st := n.status(); st.GetRows() != rows || !st.GetFit() {
		t.Errorf("status = %v rows, fit %v; want %d rows as before, and fit", st.GetRows(), st.GetFit(), rows)
	}
	c.start("w1")
	eventually(t, "m1 is not suspect", func() bool { return !n.list("web")[0].GetSuspect() })
}

func TestSecondProcessAndForeignDiskAreRefusedByName(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1")
	n := c.nodes["w1"]
	n.publish(mach("m1", "web"))
	cfg := c.config("w1")
	cfg.Socket = ""
	if _, err := region.New(t.Context(), cfg); err == nil {
		t.Error("a second process on one data directory starts")
	}
	n.stop()
	other := c.config("w2")
	other.Data = cfg.Data
	if _, err := region.New(t.Context(), other); err == nil || !strings.Contains(err.Error(), "w1") {
		t.Errorf("another node's disk: %v, want a refusal that names w1", err)
	}
	cfg.GRPC = free(t)
	again, err := region.New(t.Context(), cfg) // what was refused left nothing locked or open
	if err != nil {
		t.Fatal(err)
	}
	taken := c.config("w3")
	taken.GRPC = cfg.GRPC
	if _, err := region.New(t.Context(), taken); err == nil || !strings.Contains(err.Error(), cfg.GRPC) {
		t.Errorf("a port in use: %v, want a refusal that names it", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := again.Run(ended); err != nil {
		t.Errorf("Run with an ended context = %v, want nil, and everything closed", err)
	}
}

// A node that came back alone does not say "no machines": its answers are
// stale until it has caught up with enough of its region.
func TestNodeThatCameBackAloneIsStaleUntilAllAreBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2", "w3")
	c.together()
	c.nodes["w1"].list("web", c.nodes["w3"].publish(mach("m1", "web")).GetPoints()...)
	for _, name := range []string{"w1", "w2", "w3"} {
		c.nodes[name].stop()
	}
	stale := func(n *node) {
		t.Helper()
		_, end, err := n.query(`SELECT count(*) FROM fleet_current`)
		if st := n.status(); err != nil || end.GetCoverage().GetState() != clusterv1.CoverageState_COVERAGE_STATE_STALE || st.GetFit() {
			t.Errorf("%s: coverage %v, fit %v, %v; want stale", n.name, end.GetCoverage(), st.GetFit(), err)
		}
	}
	w1, w2 := c.start("w1"), c.start("w2")
	eventually(t, "w1 and w2 have met, and miss w3", func() bool {
		return strings.HasSuffix(w1.status().GetUnfitBecause(), "missing: w3") && strings.HasSuffix(w2.status().GetUnfitBecause(), "missing: w3")
	})
	stale(w1) // two of three, and neither was fit since its start: both may be old
	stale(w2)
	if got := w1.list("web"); len(got) != 1 {
		t.Errorf("machines = %v: stale, and not empty", got)
	}
	c.start("w3")
	c.together()
}

func TestUnconfirmedMachinesAreMarkedUntilTheDaemonSpeaks(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2")
	c.together()
	n := c.nodes["w1"]
	old := filepath.Join(c.dir, "old")
	n.publish(mach("m1", "web"), mach("m2", "web"))
	n.stop()
	if err := os.CopyFS(old, os.DirFS(filepath.Join(c.dir, "w1"))); err != nil {
		t.Fatal(err)
	}
	n = c.start("w1")
	stopping := mach("m1", "web")
	stopping.State = regionv1.MachineState_MACHINE_STATE_STOPPING
	c.nodes["w2"].list("web", n.publish(stopping).GetPoints()...)
	n.stop()
	// The disk of before is put back: it knows nothing of the last start.
	if err := errors.Join(os.RemoveAll(filepath.Join(c.dir, "w1")), os.Rename(old, filepath.Join(c.dir, "w1"))); err != nil {
		t.Fatal(err)
	}
	n = c.start("w1")
	marked := func() int {
		k := 0
		for _, m := range n.list("web") {
			if m.GetUnconfirmed() {
				k++
			}
		}
		return k
	}
	eventually(t, "w1 learns of its last start and doubts its rows", func() bool { return marked() == 2 })
	if m := n.list("web")[0]; m.GetState() != regionv1.MachineState_MACHINE_STATE_STOPPING {
		t.Errorf("m1 is %v: what another node had received was rolled back", m.GetState())
	}
	n.stop()
	n = c.start("w1")
	if k := marked(); k != 2 || len(n.status().GetAlarms()) == 0 {
		t.Errorf("after a restart %d machines are unconfirmed, alarms %v", k, n.status().GetAlarms())
	}
	n.publish(stopping)
	eventually(t, "only m2 is unconfirmed", func() bool { return marked() == 1 })
	if _, err := n.reconcile(false, stopping, mach("m2", "web")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a reconcile confirms all", func() bool { return marked() == 0 })
}
