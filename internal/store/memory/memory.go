// Package memory is a store without a database, for simulation and tests: the
// same rules as the real one over an in-memory Disk that can lose what was not
// synced, be copied, and be put back. It knows no SQL: what a CHECK would
// refuse comes from a function.
package memory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// maxDrift is how far ahead of the wall a shared stamp may be and be shown.
const maxDrift = hlc.MaxDrift

// Config of a store.
type Config struct {
	Fleet   string
	Cluster string                                   // "global" or "region/<name>"
	Node    record.Node                              // required
	Tables  []schema.Table                           // with ids
	Now     func() time.Time                         // nil means time.Now
	Rand    func() uint64                            // bits of writers; nil means random
	Disk    *Disk                                    // nil means an empty one
	Check   func(table string, row store.Row) error  // what a constraint refuses; nil means nothing
	Mutant  Mutant                                   // breaks a rule, for tests of tests
	Forge   func() bool                              // true: writes rows in the names of other nodes, as a compromised node does; nil means false
	Unsafe  func(line []record.Writer) record.Writer // for mutants: chooses the writer of a start; the zero Writer means the rule
}

// Store implements store.Store. Safe for concurrent use.
type Store struct {
	// Set by Open, then constant.
	cfg Config

	mu     sync.Mutex
	st     *state
	disk   *Disk
	writer record.Writer
	since  int // the place in the disk's log where this start began
	next   record.Version
	clock  hlc.Clock
	ended  bool
	staged store.ListingPage // of the listing that is being taken; First once it has begun
	wake   chan struct{}     // closed and replaced at each new feed entry
}

var _ store.Store = (*Store)(nil)

// Open starts a store on its disk, under a new writer.
func Open(cfg Config) (*Store, error) {
	if cfg.Node == "" {
		return nil, errors.New("memory store: no node")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Uint64
	}
	if cfg.Disk == nil {
		cfg.Disk = &Disk{}
	}
	s := &Store{cfg: cfg, disk: cfg.Disk, st: newState(cfg), wake: make(chan struct{})}
	for _, e := range cfg.Disk.log {
		s.st.replay(e)
	}
	s.clock.Restore(s.st.stamp)
	s.since = len(cfg.Disk.log)
	s.begin(s.chooseWriter(0))
	return s, nil
}

// chooseWriter returns a new writer with a boot of at least boot, above every
// known one of this node and not below Unix seconds.
func (s *Store) chooseWriter(boot uint64) record.Writer {
	if s.cfg.Unsafe != nil {
		if w := s.cfg.Unsafe(s.st.ownWriters(s.cfg.Node)); !w.IsZero() {
			return w
		}
	}
	boot = max(boot, uint64(max(0, s.cfg.Now().Unix())), s.st.nodes[s.cfg.Node].Over()+1)
	for _, w := range s.st.ownWriters(s.cfg.Node) {
		boot = max(boot, w.Boot+1)
	}
	return record.Writer{Node: s.cfg.Node, Boot: boot, Bits: s.cfg.Rand() | 1}
}

func (s *Store) begin(w record.Writer) {
	s.writer = w
	s.next = 1
	if ws := s.st.writers[w]; ws != nil {
		s.next = ws.Received.Head + 1 // only a mutant continues a writer
	}
	s.log(entry{start: w})
	s.disk.Sync()
}

// log makes e part of the disk and of the state, and wakes feeds.
func (s *Store) log(e entry) applied {
	s.disk.log = append(s.disk.log, e)
	out := s.st.replay(e)
	close(s.wake)
	s.wake = make(chan struct{})
	return out
}

// Writer implements store.Store.
func (s *Store) Writer() record.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writer
}

// Tables implements store.Store.
func (s *Store) Tables() []schema.Table { return slices.Clone(s.cfg.Tables) }

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) (store.Commit, error) {
	if err := ctx.Err(); err != nil {
		return store.Commit{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return store.Commit{}, store.ErrClosed
	}
	s.release()
	tx := &tx{s: s, rows: map[place]store.Row{}}
	if err := fn(tx); err != nil {
		return store.Commit{}, err
	}
	records, standing, err := tx.records()
	if err != nil {
		return store.Commit{}, err
	}
	if len(records) == 0 {
		return store.Commit{Standing: standing}, nil
	}
	c, err := s.commit(records, false)
	if err != nil {
		return store.Commit{}, err
	}
	return store.Commit{Point: c.Point(), Standing: standing, Records: len(records)}, nil
}

// commit numbers records as the next changeset and makes it durable.
func (s *Store) commit(records []record.Record, quiet bool) (record.Changeset, error) {
	c := record.Changeset{Writer: s.writer, Version: s.next, Wall: s.cfg.Now().UnixMilli(), Records: records}
	if size := len(record.AppendDelivery(nil, record.Pushed(c))); size > record.MaxChangeset {
		return c, fmt.Errorf("changeset of %d bytes, cap %d: %w", size, record.MaxChangeset, store.ErrTooLarge)
	}
	s.next++
	s.log(entry{delivery: record.Pushed(c), local: &c, quiet: quiet, wall: s.cfg.Now()})
	s.disk.Sync()
	return c, nil
}

// Apply implements store.Store. It commits without a sync, as the real one.
func (s *Store) Apply(ctx context.Context, batch []record.Delivery) ([]store.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, store.ErrClosed
	}
	s.release()
	out := make([]store.Outcome, len(batch))
	for i, d := range batch {
		out[i] = s.applyOne(d)
	}
	return out, nil
}

func (s *Store) applyOne(d record.Delivery) store.Outcome {
	if err := check(d); err != nil {
		return store.Outcome{Status: store.Rejected, Err: err}
	}
	if len(s.st.missing(d.Writer, d.Range)) == 0 {
		return store.Outcome{Status: store.Duplicate}
	}
	done := s.log(entry{delivery: d, wall: s.cfg.Now()})
	s.clock.Restore(s.st.stamp)
	return store.Outcome{Status: store.Applied, Withheld: done.withheld}
}

func check(d record.Delivery) error {
	if d.Range.From == 0 || d.Range.To < d.Range.From || d.Writer.Node == "" {
		return fmt.Errorf("delivery of %v %v: bad range or writer", d.Writer, d.Range)
	}
	for _, c := range d.Changesets {
		if c.Writer != d.Writer || c.Version < d.Range.From || c.Version > d.Range.To {
			return fmt.Errorf("changeset %v outside its delivery", c.Point())
		}
		for _, r := range c.Records {
			if err := r.Check(); err != nil {
				return fmt.Errorf("changeset %v: %w", c.Point(), err)
			}
		}
	}
	return nil
}

// release shows what is no longer ahead of the wall.
func (s *Store) release() {
	if s.st.anyDue(s.cfg.Now()) {
		s.log(entry{release: true, wall: s.cfg.Now()})
		s.clock.Restore(s.st.stamp)
	}
}

// Renew implements store.Store.
func (s *Store) Renew(ctx context.Context, boot uint64) (record.Writer, error) {
	if err := ctx.Err(); err != nil {
		return record.Writer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return record.Writer{}, store.ErrClosed
	}
	mine := s.disk.startsSince(s.since)
	records := s.disk.ownedSince(s.since, s.st.nodes[s.cfg.Node].Evicted)
	if !s.st.onlyEvicted(mine, boot) || s.cfg.Mutant.is(RenewShared) {
		records = append(records, s.st.othersOf(mine)...)
	}
	s.begin(s.chooseWriter(boot))
	for len(records) > 0 {
		n := fitting(records, record.MaxRecords)
		if _, err := s.commit(records[:n], false); err != nil {
			return record.Writer{}, err
		}
		records = records[n:]
	}
	return s.writer, nil
}

// fitting returns how many of the first records, limit at most, make one
// changeset.
func fitting(records []record.Record, limit int) (n int) {
	limit = min(limit, len(records), record.MaxRecords)
	for size := 0; n < limit && size < record.MaxChangeset/2; n++ {
		size += len(records[n].Key) + len(records[n].Cells) + 64
	}
	return n
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		s.disk.Sync()
		close(s.wake)
	}
	return nil
}

// Crash ends the store as a loss of power does: what was not synced is gone
// from its disk.
func (s *Store) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		s.disk.log = s.disk.log[:s.disk.synced:s.disk.synced]
		close(s.wake)
	}
}
