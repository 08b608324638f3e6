package sqlite

import (
	"maps"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// writerState is one row of _fb_writers.
type writerState struct {
	id     int64
	writer record.Writer
	recv   record.Received
	prints [len(record.Kinds)]record.Fingerprint
	held   int64 // bytes of its records that are withheld
}

func (w *writerState) public() store.WriterState {
	return store.WriterState{Writer: w.writer, Received: w.recv, Fingerprints: w.prints}
}

// state is what the writing goroutine knows beside the tables. Transactions
// and savepoints work on a fork, which is absorbed when they commit and
// dropped when they roll back, so memory never says what disk does not.
type state struct {
	parent  *state
	writers map[int64]*writerState // own copies, free to change until absorbed
	ids     map[record.Writer]int64
	evicted map[record.Node]uint64

	self     int64 // id of the writer of now
	lastID   int64
	clock    hlc.Clock
	sequence uint64 // of the last feed entry
	held     heldCount
	started  []int64
	boots    []lineBoot

	entries []store.Entry // to publish after the commit
	lines   []byte        // the same for the disk
}

func newState() *state {
	return &state{
		writers: map[int64]*writerState{},
		ids:     map[record.Writer]int64{},
		evicted: map[record.Node]uint64{},
	}
}

func (s *state) fork() *state {
	c := *s
	c.parent = s
	c.writers, c.ids, c.evicted = map[int64]*writerState{}, map[record.Writer]int64{}, map[record.Node]uint64{}
	c.entries, c.lines = nil, nil
	return &c
}

// absorb takes over what a fork of s has come to.
func (s *state) absorb(c *state) {
	maps.Copy(s.writers, c.writers)
	maps.Copy(s.ids, c.ids)
	maps.Copy(s.evicted, c.evicted)
	s.self, s.lastID, s.clock, s.sequence = c.self, c.lastID, c.clock, c.sequence
	s.held, s.started, s.boots = c.held, c.started, c.boots
	s.entries = append(s.entries, c.entries...)
	s.lines = append(s.lines, c.lines...)
}

// get returns a writer to read.
func (s *state) get(id int64) *writerState {
	for ; s != nil; s = s.parent {
		if w := s.writers[id]; w != nil {
			return w
		}
	}
	return nil
}

// change returns a writer to change.
func (s *state) change(id int64) *writerState {
	if w := s.writers[id]; w != nil {
		return w
	}
	c := *s.get(id)
	s.writers[id] = &c
	return &c
}

func (s *state) id(w record.Writer) (int64, bool) {
	for ; s != nil; s = s.parent {
		if id, ok := s.ids[w]; ok {
			return id, true
		}
	}
	return 0, false
}

// intern returns the id of w, a new one if it was unknown.
func (s *state) intern(w record.Writer) int64 {
	if id, ok := s.id(w); ok {
		return id
	}
	s.lastID++
	s.ids[w] = s.lastID
	s.writers[s.lastID] = &writerState{id: s.lastID, writer: w}
	return s.lastID
}

// evictedUpTo returns the boot up to which owned records of n are dropped.
func (s *state) evictedUpTo(n record.Node) uint64 {
	for ; s != nil; s = s.parent {
		if boot, ok := s.evicted[n]; ok {
			return boot
		}
	}
	return 0
}

// point is where a record came from.
func (s *state) point(id int64, v record.Version) record.Point {
	if w := s.get(id); w != nil {
		return record.Point{Writer: w.writer, Version: v}
	}
	return record.Point{}
}

// count adds h to a writer's fingerprint of kind, or takes it out.
func (s *state) count(id int64, kind record.Kind, h record.Hash, in bool) {
	p := &s.change(id).prints[kind-1]
	if in {
		*p = p.Add(h)
	} else {
		*p = p.Sub(h)
	}
}
