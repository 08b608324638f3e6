package region_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/identity"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

func TestPublishedMachineIsSeenOnEveryNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2", "w3")
	c.together()
	w := c.nodes["w1"].publish(mach("m1", "web"))
	if len(w.GetPoints()) != 1 || w.GetChanged() != 1 {
		t.Fatalf("written = %v, want one changeset of one row", w)
	}
	for _, n := range c.nodes {
		got := n.list("web", w.GetPoints()...)
		if len(got) != 1 || got[0].GetWorker() != "w1" || !got[0].GetRoutable() || got[0].GetSuspect() || got[0].GetEpoch() != 1 {
			t.Errorf("%s: machines = %v", n.name, got)
		}
		rows, end, err := n.query(`SELECT worker, id, app FROM fleet_current`)
		if err != nil || len(rows) != 1 || rows[0][1] != "m1" {
			t.Errorf("%s: fleet_current = %v, %v", n.name, rows, err)
		}
		if end.GetCoverage().GetState() != clusterv1.CoverageState_COVERAGE_STATE_LIVE || end.GetRows() != 1 {
			t.Errorf("%s: end = %v, want live", n.name, end)
		}
	}
	again := c.nodes["w1"].publish(mach("m1", "web"))
	if len(again.GetPoints()) != 0 || again.GetUnchanged() != 1 || len(again.GetStanding()) != 1 {
		t.Errorf("the same again = %v, want no changeset and the one that stands", again)
	}
}

func TestWaitSaysWhoHasIt(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2", "w3")
	c.together()
	w := c.nodes["w1"].publish(mach("m1", "web"))
	resp, err := c.nodes["w2"].daemon.Wait(within(t, 10*time.Second), &regionv1.WaitRequest{Points: w.GetPoints(), Scope: regionv1.WaitScope_WAIT_SCOPE_REGION})
	if err != nil || !resp.GetReached() {
		t.Errorf("wait for the region = %v, %v", resp, err)
	}
	next := w.GetPoints()[0]
	next.Version += 1000
	resp, err = c.nodes["w2"].daemon.Wait(within(t, 10*time.Second), &regionv1.WaitRequest{
		Points: []*clusterv1.Point{next, {Node: "nobody", Version: 1}}, Scope: regionv1.WaitScope_WAIT_SCOPE_REGION, TimeoutMs: 600})
	if err != nil || resp.GetReached() || len(resp.GetLacks()) != 6 {
		t.Fatalf("wait for what is not there = %v, %v; want two lacks of each node", resp, err)
	}
	for _, l := range resp.GetLacks() {
		want := "gap"
		if l.GetPoint().GetNode() == "nobody" {
			want = "unknown writer"
		}
		if l.GetReason() != want {
			t.Errorf("%s lacks %v: %q, want %q", l.GetNode(), l.GetPoint(), l.GetReason(), want)
		}
	}
	_, err = c.nodes["w2"].daemon.Wait(within(t, time.Second), &regionv1.WaitRequest{Points: w.GetPoints(), Scope: 9})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "scope 9") {
		t.Errorf("a scope of a newer version is answered as if it were known: %v", err)
	}
}

func TestWithdrawnMachineIsRemovedEverywhereOnceSettled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2", "w3")
	c.together()
	n := c.nodes["w1"]
	n.publish(mach("m1", "web"), mach("m2", "web"))
	resp := n.withdraw("m1", "never")
	if len(resp.GetUnknown()) != 1 || resp.GetUnknown()[0] != "never" {
		t.Errorf("unknown = %v, want [never]", resp.GetUnknown())
	}
	for _, o := range c.nodes {
		eventually(t, "the row is gone on "+o.name, func() bool {
			rows, _, err := o.query(`SELECT id FROM fleet_machines`)
			return err == nil && len(rows) == 1 && rows[0][0] == "m2"
		})
	}
}

func TestReconcileIsIdempotentAndHealsDrift(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2")
	c.together()
	n := c.nodes["w1"]
	n.publish(mach("m1", "web"), mach("m2", "web"))
	resp, err := n.reconcile(false, mach("m2", "web"), mach("m3", "api"))
	if err != nil || len(resp.GetEnded()) != 1 || resp.GetEnded()[0] != "m1" {
		t.Fatalf("reconcile = %v, %v; want m1 ended", resp, err)
	}
	resp, err = n.reconcile(false, mach("m2", "web"), mach("m3", "api"))
	if err != nil || len(resp.GetWritten().GetPoints()) != 0 || resp.GetWritten().GetUnchanged() != 2 || len(resp.GetEnded()) != 0 {
		t.Errorf("the same list again = %v, %v; want no changeset", resp, err)
	}
	if _, err := n.reconcile(false); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("empty list = %v, want a refusal", err)
	}
	if resp, err = n.reconcile(true); err != nil || len(resp.GetEnded()) != 2 {
		t.Errorf("empty list with allow_shrink = %v, %v; want both ended", resp, err)
	}
}

func TestQueriesThatWriteOrNeverEndAreRefusedAndHarmNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1")
	n := c.nodes["w1"]
	n.publish(mach("m1", "web"))
	for _, sql := range []string{
		`DELETE FROM fleet_machines`, `INSERT INTO fleet_probe VALUES ('w1', 1)`, `UPDATE fleet_machines SET app = 'x'`,
		`ATTACH DATABASE '/tmp/x' AS x`, `SELECT load_extension('x')`, `PRAGMA journal_mode = DELETE`, `DROP VIEW fleet_current`,
		`SELECT`, ``, `;`, `-- nothing`, `/* nothing */`, "\x00", `SELECT 1; DELETE FROM fleet_machines`, `VACUUM INTO '/tmp/x'`,
	} {
		if _, _, err := n.query(sql); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", sql, err)
		}
	}
	s, err := n.daemon.Query(within(t, 10*time.Second), &regionv1.QueryRequest{
		Sql: `WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n`, TimeoutMs: 300})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a query that never ends = %v, want RESOURCE_EXHAUSTED", err)
	}
	if rows, _, err := n.query(`SELECT id FROM fleet_machines`); err != nil || len(rows) != 1 {
		t.Errorf("afterwards: %v, %v", rows, err)
	}
}

// A reader that does not read may not keep the store's readers.
func TestReadersThatDoNotReadHoldUpNobody(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1")
	n := c.nodes["w1"]
	n.publish(mach("m1", "web"))
	for range 4 { // as many as the store has readers
		s, err := n.daemon.Query(within(t, 20*time.Second), &regionv1.QueryRequest{TimeoutMs: 700,
			Sql: `WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, hex(zeroblob(100000)) FROM n`})
		if err == nil {
			_, err = s.Recv() // it runs; nothing more of it is read
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if rows, _, err := n.query(`SELECT id FROM fleet_machines`); err != nil || len(rows) != 1 {
		t.Errorf("a query beside them = %v, %v", rows, err)
	}
}

func TestWhoMayWrite(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1")
	n := c.nodes["w1"]
	n.publish(mach("m1", "web"))
	operator := n.dial(identity.ID{Fleet: "acme", Role: identity.Operator, Name: "op"})
	if _, err := operator.Publish(within(t, 5*time.Second), &regionv1.PublishRequest{Machines: []*regionv1.Machine{mach("m2", "web")}}); err != nil {
		t.Errorf("operator: %v", err)
	}
	for _, id := range []identity.ID{
		{Fleet: "acme", Role: identity.Router, Name: "r1"},
		{Fleet: "acme", Role: identity.Client, Name: "c1"},
		{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w2"},
	} {
		caller := n.dial(id)
		if _, err := caller.Publish(within(t, 5*time.Second), &regionv1.PublishRequest{Machines: []*regionv1.Machine{mach("m3", "web")}}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%v publishes: %v, want PERMISSION_DENIED", id, err)
		}
		if _, err := caller.GetMachine(within(t, 5*time.Second), &regionv1.GetMachineRequest{Id: "m1"}); err != nil {
			t.Errorf("%v reads: %v", id, err)
		}
	}
	foreign := n.dial(identity.ID{Fleet: "acme", Role: identity.Node, Region: "ams", Name: "w2"})
	if _, err := foreign.GetMachine(within(t, 5*time.Second), &regionv1.GetMachineRequest{Id: "m1"}); err == nil {
		t.Error("a node of another region is answered")
	}
}

func TestBadListsAreRefusedWholeAndNameTheirLine(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1")
	n := c.nodes["w1"]
	n.publish(mach("keep", "web"))
	var list []*regionv1.Machine
	for i := range 10 {
		list = append(list, mach(fmt.Sprintf("m%d", i), "web"))
	}
	list[2].Addresses = []string{"host.example.com"}
	s, err := n.daemon.PublishStream(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if err := s.Send(&regionv1.PublishStreamRequest{Machine: m}); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.CloseAndRecv()
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "machine 3") || !strings.Contains(err.Error(), "host.example.com") {
		t.Errorf("bad line 3 = %v", err)
	}
	if _, err := n.reconcile(false, list...); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "machine 3") {
		t.Errorf("reconcile with a bad line 3 = %v", err)
	}
	list[2] = mach("m7", "web")
	if _, err := n.reconcile(true, list...); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "machine 8") {
		t.Errorf("an id twice = %v", err)
	}
	other := mach("theirs", "web")
	other.Worker = "w9"
	if _, err := n.daemon.Publish(within(t, 5*time.Second), &regionv1.PublishRequest{Machines: []*regionv1.Machine{mach("a", "web"), other}}); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "w9") {
		t.Errorf("another worker's row = %v", err)
	}
	if rows, _, err := n.query(`SELECT id FROM fleet_machines`); err != nil || len(rows) != 1 {
		t.Errorf("rows = %v, %v; want only keep", rows, err)
	}
}

func TestLargeStreamIsWrittenInParts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2")
	c.together()
	n := c.nodes["w1"]
	s, err := n.daemon.PublishStream(within(t, 20*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	const count = 2500
	for i := range count {
		m := mach(fmt.Sprintf("m%05d", i), "web")
		m.Health = regionv1.HealthStatus_HEALTH_STATUS_PASSING
		if err := s.Send(&regionv1.PublishStreamRequest{Machine: m}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := s.CloseAndRecv()
	if err != nil || resp.GetWritten().GetChanged() != 2*count || len(resp.GetWritten().GetPoints()) != 5 {
		t.Fatalf("written = %v changed in %d changesets, %v", resp.GetWritten().GetChanged(), len(resp.GetWritten().GetPoints()), err)
	}
	if got := c.nodes["w2"].list("web", resp.GetWritten().GetPoints()...); len(got) != count {
		t.Errorf("w2 lists %d machines, want %d", len(got), count)
	}
}
