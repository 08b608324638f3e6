package table

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// The states of a worker.
const (
	WorkerActive   = "active"
	WorkerDraining = "draining"
)

// Service is one port that a machine serves, as the services column spells it.
type Service struct {
	Name     string `json:"name,omitempty"`
	Port     uint32 `json:"port"`
	Protocol string `json:"protocol,omitempty"`
}

// Machine is a row of fleet_machines. Its region is not in the row.
type Machine struct {
	Worker    fleet.Worker
	ID        fleet.MachineID
	App       fleet.App
	State     claim.State
	Why       claim.Why
	Services  []Service
	Addresses []string
	Image     string
	Resources string // JSON object or empty
	Metadata  string // JSON object or empty
	Epoch     uint64
	Grant     uint64
	MovedTo   string // region/worker
}

// Claim returns what package claim judges by.
func (m Machine) Claim(region fleet.Region) claim.Row {
	return claim.Row{
		Place: claim.Place{Region: region, Worker: m.Worker},
		ID:    m.ID, App: m.App, State: m.State, Why: m.Why, Epoch: m.Epoch, Grant: m.Grant, MovedTo: m.MovedTo,
	}
}

// Row returns the stored row.
func (m Machine) Row() store.Row {
	return store.Row{
		record.Of(string(m.Worker)), record.Of(string(m.ID)),
		record.Of(string(m.App)), record.Of(m.State.String()), record.Of(m.Why.String()),
		list(m.Services), list(m.Addresses),
		record.Of(m.Image), record.Of(m.Resources), record.Of(m.Metadata),
		number(m.Epoch), number(m.Grant), record.Of(m.MovedTo),
	}
}

// MachineOf reads a row of fleet_machines. What is not as this version writes
// it (a row of another version, or a forged one) reads as the nearest thing
// that gets no traffic; a row is never lost for it.
func MachineOf(r store.Row) (Machine, error) {
	if len(r) != 13 {
		return Machine{}, fmt.Errorf("table %s: row of %d values, want 13", Machines, len(r))
	}
	m := Machine{
		Worker: fleet.Worker(r[0].Data), ID: fleet.MachineID(r[1].Data), App: fleet.App(r[2].Data),
		State: claim.ParseState(r[3].Data), Why: claim.ParseWhy(r[4].Data),
		Image: r[7].Data, Resources: r[8].Data, Metadata: r[9].Data,
		Epoch: natural(r[10]), Grant: natural(r[11]), MovedTo: r[12].Data,
	}
	m.Services, _ = items[Service](r[5])
	var ok bool
	if m.Addresses, ok = items[string](r[6]); !ok {
		m.Addresses = []string{r[6].Data} // no IP literal: named by why-not
	}
	return m, nil
}

// HealthRow is a row of fleet_health.
type HealthRow struct {
	Worker fleet.Worker
	ID     fleet.MachineID
	Status claim.Health
	Since  int64 // Unix milliseconds
}

// Row returns the stored row.
func (h HealthRow) Row() store.Row {
	return store.Row{record.Of(string(h.Worker)), record.Of(string(h.ID)), record.Of(h.Status.String()), record.Of(h.Since)}
}

// HealthOf reads a row of fleet_health.
func HealthOf(r store.Row) (HealthRow, error) {
	if len(r) != 4 {
		return HealthRow{}, fmt.Errorf("table %s: row of %d values, want 4", Health, len(r))
	}
	return HealthRow{fleet.Worker(r[0].Data), fleet.MachineID(r[1].Data), claim.ParseHealth(r[2].Data), r[3].Int}, nil
}

// Worker is a row of fleet_workers.
type Worker struct {
	Worker    fleet.Worker
	Locality  string
	Addresses []string
	Capacity  string // JSON object or empty
	State     string
	Gateway   string // host:port of its gRPC, empty if it is none
}

// Draining reports whether its machines get no traffic.
func (w Worker) Draining() bool { return w.State == WorkerDraining }

// Row returns the stored row.
func (w Worker) Row() store.Row {
	return store.Row{
		record.Of(string(w.Worker)), record.Of(w.Locality), list(w.Addresses),
		record.Of(w.Capacity), record.Of(w.State), record.Of(w.Gateway),
	}
}

// WorkerOf reads a row of fleet_workers.
func WorkerOf(r store.Row) (Worker, error) {
	if len(r) != 6 {
		return Worker{}, fmt.Errorf("table %s: row of %d values, want 6", Workers, len(r))
	}
	w := Worker{Worker: fleet.Worker(r[0].Data), Locality: r[1].Data, Capacity: r[3].Data, State: r[4].Data, Gateway: r[5].Data}
	w.Addresses, _ = items[string](r[2])
	return w, nil
}

// ReclaimOf reads a row of fleet_reclaims.
func ReclaimOf(region fleet.Region, r store.Row) (claim.Reclaim, error) {
	if len(r) != 5 {
		return claim.Reclaim{}, fmt.Errorf("table %s: row of %d values, want 5", Reclaims, len(r))
	}
	return claim.Reclaim{Region: region, ID: fleet.MachineID(r[0].Data), Epoch: natural(r[1]), Owner: fleet.Worker(r[2].Data)}, nil
}

// list gives the JSON text of a list, "[]" for none.
func list[T any](items []T) record.Value {
	if len(items) == 0 {
		return record.Of("[]")
	}
	b, err := json.Marshal(items)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return record.Of(string(b))
}

// items reads a list, nil for an empty one and for what is none.
func items[T any](v record.Value) (out []T, ok bool) {
	if err := json.Unmarshal([]byte(v.Data), &out); err != nil || len(out) == 0 {
		return nil, err == nil
	}
	return out, true
}

// number stores n, at most the largest that SQLite has.
func number(n uint64) record.Value { return record.Of(int64(min(n, math.MaxInt64))) }

func natural(v record.Value) uint64 { return uint64(max(v.Int, 0)) }
