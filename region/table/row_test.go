package table_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/table"
)

func TestRowsReadBack(t *testing.T) {
	m := table.Machine{
		Worker: "w1", ID: "m-1", App: "web", State: claim.Moved, Why: claim.WhyMoved,
		Services:  []table.Service{{Name: "http", Port: 80}, {Port: 53, Protocol: "udp"}},
		Addresses: []string{"10.0.0.1", "fd00::1"}, Image: "img", Resources: `{"cpu":1}`, Metadata: `{"a":"b"}`,
		Epoch: 3, Grant: 4, MovedTo: "iad/w2",
	}
	got, err := table.MachineOf(m.Row())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
	h := table.HealthRow{Worker: "w1", ID: "m-1", Status: claim.Failing, Since: 9}
	if got, err := table.HealthOf(h.Row()); err != nil || got != h {
		t.Errorf("health = %+v, %v", got, err)
	}
	w := table.Worker{Worker: "w1", Locality: "us-east", Addresses: []string{"10.0.0.9"}, Capacity: `{}`, State: table.WorkerDraining, Gateway: "10.0.0.9:7000"}
	gotWorker, err := table.WorkerOf(w.Row())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, gotWorker); diff != "" {
		t.Errorf("worker (-want +got):\n%s", diff)
	}
}

// A row that another version wrote, or that was forged, is still a claim; it
// gets no traffic.
func TestRowsOfAnotherHandStillRead(t *testing.T) {
	row := table.Machine{Worker: "w1", ID: "m", App: "web", State: claim.Started, Epoch: 1}.Row()
	row[3] = record.Of("paused")
	row[5] = record.Of("{")
	row[6] = record.Of("not json")
	row[10] = record.Of(-1)
	m, err := table.MachineOf(row)
	if err != nil {
		t.Fatal(err)
	}
	v := claim.Judge([]claim.Row{m.Claim("iad")}, nil)[0]
	if !v.Current || m.Epoch != 0 || len(claim.WhyNot(v, claim.Facts{Addresses: m.Addresses})) != 2 {
		t.Errorf("machine = %+v, want a claim at epoch 0 that is not routable", m)
	}
	for _, bad := range []store.Row{nil, row[:12]} {
		if _, err := table.MachineOf(bad); err == nil {
			t.Errorf("a row of %d values reads as a machine", len(bad))
		}
	}
}

func TestMachineRecordLeavesOutDefaults(t *testing.T) {
	tab := table.All()[0]
	r, err := tab.Record(table.Machine{Worker: "w1", ID: "m", App: "web", State: claim.Started, Epoch: 1}.Row(), "")
	if err != nil {
		t.Fatal(err)
	}
	cells, err := record.DecodeCells(r.Cells)
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) != 2 {
		t.Errorf("a plain machine has %d cells, want app and state alone", len(cells))
	}
}
