package sqlite

import (
	"maps"
	"slices"

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
	floors [len(record.Kinds)]record.Version
	closed record.Version // that brought its closing, in effect or not; zero if it has not closed
	held   int64          // bytes of its records that are withheld
}

func (w *writerState) public() store.WriterState {
	return store.WriterState{Writer: w.writer, Received: w.recv, Fingerprints: w.prints, Floors: w.floors}
}

// known reports whether anything is known of w but its name.
func (w *writerState) known() bool {
	return w.recv.Head > 0 || w.prints != [len(record.Kinds)]record.Fingerprint{} || w.floors != [len(record.Kinds)]record.Version{}
}

// state is what the writing goroutine knows beside the tables. Transactions
// and savepoints work on a fork, which is absorbed when they commit and
// dropped when they roll back, so memory never says what disk does not.
type state struct {
	parent  *state
	writers map[int64]*writerState // own copies, free to change until absorbed
	ids     map[record.Writer]int64
	nodes   map[record.Node]store.NodeState
	pending map[record.Node]bool // has closings that may come into effect, or be fulfilled

	self     int64 // id of the writer of now
	own      int64 // id of the writer whose state is in the newest row of the feed; zero for none
	lastID   int64
	clock    hlc.Clock
	sequence uint64 // of the last feed entry
	voids    store.Voids
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
		nodes:   map[record.Node]store.NodeState{},
		pending: map[record.Node]bool{},
	}
}

func (s *state) fork() *state {
	c := *s
	c.parent = s
	c.writers, c.ids = map[int64]*writerState{}, map[record.Writer]int64{}
	c.nodes, c.pending = map[record.Node]store.NodeState{}, map[record.Node]bool{}
	c.entries, c.lines = nil, nil
	return &c
}

// absorb takes over what a fork of s has come to.
func (s *state) absorb(c *state) {
	maps.Copy(s.writers, c.writers)
	maps.Copy(s.ids, c.ids)
	maps.Copy(s.nodes, c.nodes)
	maps.Copy(s.pending, c.pending)
	s.self, s.own, s.lastID, s.clock, s.sequence = c.self, c.own, c.lastID, c.clock, c.sequence
	s.held, s.started, s.boots, s.voids = c.held, c.started, c.boots, c.voids
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

// mine reports whether w is a writer of this start.
func (s *state) mine(w record.Writer) bool {
	id, ok := s.id(w)
	return ok && slices.Contains(s.started, id)
}

// ownHead returns how much w has written, and whether it is of this start and
// not over: then it may be forgotten, and nothing of it is taken.
func (s *state) ownHead(w record.Writer) (record.Version, bool) {
	if !s.mine(w) || w.Boot <= s.node(w.Node).Complete {
		return 0, false
	}
	id, _ := s.id(w)
	return s.get(id).recv.Head, true
}

// node returns what is known of all writers of n at once.
func (s *state) node(n record.Node) store.NodeState {
	for ; s != nil; s = s.parent {
		if ns, ok := s.nodes[n]; ok {
			return ns
		}
	}
	return store.NodeState{Node: n}
}

// over reports whether an owned record of w is dropped, neither taken nor
// served.
func (s *state) over(w record.Writer) bool { return w.Boot <= s.node(w.Node).Over() }

// waits reports whether a closing of n may yet come to something.
func (s *state) waits(n record.Node) bool {
	for ; s != nil; s = s.parent {
		if p, ok := s.pending[n]; ok {
			return p
		}
	}
	return false
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
