// Package ledger writes a worker's own rows: what its daemon says runs, what
// it says is over, and the removal of ends that everybody has seen.
//
// Whatever a daemon says of its own machines is taken, and nothing else is:
// epochs come from the rows that are there, ends that a list implies wait
// until this node has caught up, and a list that would end much of a worker is
// refused unless that is said. A write is all or nothing up to the cap of a
// changeset; a larger one is checked whole and then written in parts, in the
// order of ids, so that after a crash in between the caller just repeats it.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/roster"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Index finds the rows of a machine.
type Index interface {
	// Siblings returns the keys of all rows of one machine.
	Siblings(id fleet.MachineID) []roster.Key
	// Machine returns the rows and reclaims of one machine.
	Machine(id fleet.MachineID) ([]claim.Row, []claim.Reclaim)
	// Ended reports whether a worker has rows that ended.
	Ended(w fleet.Worker) bool
	// WaitPosition returns once the index has everything up to p.
	WaitPosition(ctx context.Context, p store.Position) error
}

// Peers says what the other nodes of the region have.
type Peers interface {
	// CaughtUp returns nil once this node has whatever any member that it
	// believes alive had when the call began.
	CaughtUp(ctx context.Context) error
	// Everywhere reports for each point whether every known node has it. It
	// returns only once this node is caught up with all of them.
	Everywhere(ctx context.Context, points []record.Point) ([]bool, error)
}

// Config of a ledger.
type Config struct {
	Region fleet.Region
	Worker fleet.Worker
	Store  store.Store
	Index  Index
	Peers  Peers
	Spoke  func(ids []fleet.MachineID, all bool) // the daemon published ids, or reconciled all; nil for nobody
	Now    func() time.Time                      // wall clock; nil means time.Now
}

// Ledger writes one worker's rows. Safe for concurrent use.
type Ledger struct {
	// Set by New, then constant.
	cfg  Config
	self claim.Place
	turn chan struct{} // a token: writes of one worker do not interleave

	mu      sync.Mutex
	pending map[fleet.MachineID]struct{} // ends that a list implied and that wait until caught up
}

// New returns a ledger.
func New(cfg Config) (*Ledger, error) {
	if cfg.Region == "" || cfg.Worker == "" || cfg.Store == nil || cfg.Index == nil || cfg.Peers == nil {
		return nil, errors.New("ledger config: region, worker, store, index and peers are required")
	}
	if cfg.Spoke == nil {
		cfg.Spoke = func([]fleet.MachineID, bool) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Ledger{
		cfg: cfg, self: claim.Place{Region: cfg.Region, Worker: cfg.Worker},
		turn: make(chan struct{}, 1), pending: map[fleet.MachineID]struct{}{},
	}, nil
}

// Written is what a write changed.
type Written struct {
	Points    []record.Point // one per changeset
	Changed   uint64         // rows
	Unchanged uint64
	Standing  []record.Point // for parts that changed nothing: what is there
	Delayed   time.Duration  // waited because this node writes more than its budget
}

func (w *Written) add(c store.Commit, rows int) {
	w.Changed += uint64(c.Records)
	w.Unchanged += uint64(max(rows-c.Records, 0))
	w.Delayed += c.Delayed
	if c.Point != (record.Point{}) {
		w.Points = append(w.Points, c.Point)
	}
	for _, p := range c.Standing {
		if n := len(w.Standing); n == 0 || w.Standing[n-1] != p {
			w.Standing = append(w.Standing, p)
		}
	}
}

// begin waits for this ledger's turn to write; the caller calls the result.
func (l *Ledger) begin(ctx context.Context) (end func(), err error) {
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// update is one transaction in which rows are written; fn returns their
// number.
func (l *Ledger) update(ctx context.Context, out *Written, fn func(store.Tx) (int, error)) error {
	var rows int
	commit, err := l.cfg.Store.Update(ctx, func(tx store.Tx) (err error) {
		rows, err = fn(tx)
		return err
	})
	if err != nil {
		return err
	}
	out.add(commit, rows)
	return nil
}

// family is every visible row of one machine, this worker's own apart.
type family struct {
	own      table.Machine
	known    bool // own is there
	rows     []claim.Row
	reclaims []claim.Reclaim
}

func (l *Ledger) family(tx store.Tx, id fleet.MachineID) (family, error) {
	var f family
	keys := l.cfg.Index.Siblings(id)
	keys = append(keys, roster.Key{Worker: l.cfg.Worker, ID: id})
	for i, k := range keys {
		if k.Worker == l.cfg.Worker && i < len(keys)-1 {
			continue // it is the last
		}
		row, ok, err := tx.Get(table.Machines, record.Of(string(k.Worker)), record.Of(string(id)))
		if err != nil {
			return f, err
		}
		if !ok {
			continue
		}
		m, err := table.MachineOf(row)
		if err != nil {
			return f, err
		}
		if k.Worker == l.cfg.Worker {
			f.own, f.known = m, true
		}
		f.rows = append(f.rows, m.Claim(l.cfg.Region))
	}
	row, ok, err := tx.Get(table.Reclaims, record.Of(string(id)))
	if err != nil || !ok {
		return f, err
	}
	c, err := table.ReclaimOf(l.cfg.Region, row)
	f.reclaims = []claim.Reclaim{c}
	return f, err
}

// live reports whether this worker claims the machine.
func (f family) live() bool { return f.known && f.own.State != claim.Ended }

// DestroyedError refuses to start a machine anew whose id was destroyed.
type DestroyedError struct {
	ID fleet.MachineID
	By fleet.Worker
}

func (e *DestroyedError) Error() string {
	return fmt.Sprintf("machine %q was destroyed on worker %q: the id is never started anew", e.ID, e.By)
}
