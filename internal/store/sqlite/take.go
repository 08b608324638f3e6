package sqlite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// maxStaged bounds the bytes of a listing that waits for its end. A node that
// would need more bootstraps from a snapshot.
const maxStaged = 256 << 20

// staged is a listing on its way in. Owned by the loop.
type staged struct {
	begun        bool // its first page came
	listed, rest []record.Changeset
	size         int
}

// TakeListing implements [store.Store].
func (db *DB) TakeListing(ctx context.Context, p store.ListingPage) error {
	if err := db.takePage(ctx, p); err != nil {
		return fmt.Errorf("take listing: %w", err)
	}
	return nil
}

func (db *DB) takePage(ctx context.Context, p store.ListingPage) error {
	bad := checkPage(p)
	var in staged
	err := db.inLoop(ctx, func() error {
		if bad != nil {
			db.staged = staged{} // its end would drop what this page listed
			return bad
		}
		if p.First {
			db.staged = staged{begun: true}
		}
		if err := p.CheckOwn(db.st.ownHead); err != nil {
			db.staged = staged{}
			return err
		}
		s := &db.staged
		if !s.begun {
			return store.ErrNoListing
		}
		s.listed, s.rest = append(s.listed, p.Listed...), append(s.rest, p.Rest...)
		for _, c := range slices.Concat(p.Listed, p.Rest) {
			for _, r := range c.Records {
				s.size += len(r.Key) + len(r.Cells) + 128
			}
		}
		if s.size > maxStaged {
			db.staged = staged{}
			return fmt.Errorf("more than %d bytes: %w", maxStaged, store.ErrTooLarge)
		}
		if p.End != nil {
			in, db.staged = *s, staged{}
		}
		return nil
	})
	if err != nil || p.End == nil {
		return err
	}
	return db.takeStaged(ctx, in, *p.End)
}

func checkPage(p store.ListingPage) error {
	for _, c := range slices.Concat(p.Listed, p.Rest) {
		if err := checkListed(c); err != nil {
			return fmt.Errorf("changeset %v: %w", c.Point(), err)
		}
	}
	return nil
}

func checkListed(c record.Changeset) error {
	if c.Writer.Node == "" || len(c.Writer.Node) > maxNode || c.Version == 0 || c.Version > maxVersion {
		return errors.New("bad writer or version")
	}
	return checkChangeset(c)
}

// takeStaged takes a whole listing, in slices that end with a changeset and let
// local writes between them. Until the last one, what was taken stands by its
// rank and no version counts as received for it.
func (db *DB) takeStaged(ctx context.Context, in staged, end store.ListingEnd) error {
	l := &taking{staged: in, ListingEnd: end, received: map[record.Writer]record.Received{}, nodes: map[record.Node]store.NodeState{}}
	for _, w := range end.Writers {
		l.received[w.Writer] = w.Received
	}
	for _, n := range end.Nodes {
		l.nodes[n.Node] = n
	}
	if end.Mode != store.CatchUp && end.Mode != store.Exchange && end.Mode != store.Repair {
		return fmt.Errorf("unknown mode %d", end.Mode)
	}
	for i, c := range l.rest {
		l.rest[i].Records = slices.DeleteFunc(slices.Clone(c.Records), func(r record.Record) bool { return end.Covers(c.Writer, r.Kind) })
	}
	if err := db.inLoop(ctx, func() error { return db.listedOwnTail(l) }); err != nil {
		return err
	}
	rest := slices.Concat(l.listed, l.rest)
	for len(rest) > 0 && end.Mode != store.Repair {
		n := 0
		err := db.inLoop(ctx, func() error {
			return db.listSlice(func(w *work) (err error) {
				n, err = w.takeSome(l, rest)
				return err
			})
		})
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	if end.Mode == store.Exchange {
		return nil
	}
	return db.inLoop(ctx, func() error {
		return db.listSlice(func(w *work) error { return w.finishListing(l) })
	})
}

// listSlice runs fn as one transaction, and if a record makes it fail, again
// record by record.
func (db *DB) listSlice(fn func(*work) error) error {
	run := func(careful bool) error {
		return db.transaction(false, func(w *work) error {
			w.careful = careful
			return errors.Join(shield(func() error { return fn(w) }), db.intents.clear())
		})
	}
	err := run(false)
	if err == nil || trouble(err) {
		return err
	}
	db.metrics.isolated.Inc()
	return run(true)
}

// taking is a listing, and what its responder says of itself.
type taking struct {
	staged
	store.ListingEnd
	received map[record.Writer]record.Received
	nodes    map[record.Node]store.NodeState
}

// accounts reports whether the responder has received a record, or knows its
// owner's boot to be over: then it is in the listing, or is gone.
func (l *taking) accounts(at record.Point, k record.Kind) bool {
	n := l.nodes[at.Writer.Node]
	return at.Writer.Boot <= n.Complete || l.received[at.Writer].Has(at.Version) ||
		k == record.Owned && at.Writer.Boot <= n.Over()
}

// has reports whether a version counts as received here.
func (w *work) has(p record.Point) bool {
	if p.Writer.Boot <= w.st.node(p.Writer.Node).Complete {
		return true
	}
	id, ok := w.st.id(p.Writer)
	return ok && w.st.get(id).recv.Has(p.Version)
}

// takeSome merges the first changesets of a listing that are new here, about a
// slice of them, and says how many it is done with.
func (w *work) takeSome(l *taking, rest []record.Changeset) (int, error) {
	w.begin()
	n, records := 0, 0
	for n < len(rest) && records < record.MaxRecords {
		c := rest[n]
		n++
		if l.Mode == store.CatchUp && w.has(c.Point()) {
			continue
		}
		records += len(c.Records)
		if err := w.takeListed(c); err != nil {
			return 0, err
		}
	}
	return n, w.told()
}

// takeListed merges the records of a changeset by rank. Its version does not
// count as received for it.
func (w *work) takeListed(c record.Changeset) error {
	id := w.st.intern(c.Writer)
	w.changed[id] = true
	r := record.Range{From: c.Version, To: c.Version}
	if w.careful || w.db.suspects.suspect(c.Writer, r) {
		return w.mergeCarefully(&delivery{}, c, id)
	}
	if err := w.db.intents.add(c.Writer, r); err != nil {
		return err
	}
	return w.mergeAll(&delivery{}, c, id)
}

// told brings closings into effect and adds a feed entry, if anything changed.
func (w *work) told() error {
	nodes := map[record.Node]bool{}
	for id := range w.changed {
		nodes[w.st.get(id).writer.Node] = true
	}
	for _, n := range slices.Sorted(maps.Keys(nodes)) {
		if err := w.settle(n); err != nil {
			return err
		}
	}
	if len(w.changed)+len(w.nodes)+len(w.gone)+len(w.changes) > 0 {
		w.enter(record.Point{}, nil)
	}
	return nil
}

// finishListing drops what the responder knows to be gone, takes what the
// listing has in its place, and then takes over what the listing says beside
// its records.
func (w *work) finishListing(l *taking) error {
	w.begin()
	top, same := w.tops(l)
	g := goner{whole: l.Mode == store.Repair, gone: func(r record.Record, at record.Point, hash record.Hash) bool {
		switch {
		case !l.Covers(at.Writer, r.Kind) || !l.accounts(at, r.Kind):
			return false
		case r.Kind != record.Shared && w.st.mine(at.Writer):
			return false // of what this start has written only a shared row can be gone by another's word
		case l.Mode == store.Repair || r.ForeignOwner(at.Writer):
			return !same[identity{slot{r.Table, r.Key}, at, hash}]
		}
		return top[slot{r.Table, r.Key}] < r.Rank(at)
	}}
	dropped, err := w.dropGone(l.Scopes, g)
	if err != nil {
		return err
	}
	for _, c := range l.listed {
		c.Records = slices.DeleteFunc(slices.Clone(c.Records), func(r record.Record) bool {
			return l.Mode == store.CatchUp && !dropped[slot{r.Table, r.Key}]
		})
		if len(c.Records) == 0 {
			continue
		}
		if err := w.takeListed(c); err != nil {
			return err
		}
	}
	if l.Mode == store.Repair {
		err = w.sumAnew(l.Scopes)
	} else {
		err = w.takeOver(l.ListingEnd)
	}
	if err != nil {
		return err
	}
	return w.told()
}

// slot is the place of a row.
type slot struct {
	table record.TableID
	key   record.Key
}

// identity tells one record from all others, byte by byte.
type identity struct {
	slot
	at   record.Point
	hash record.Hash
}

// goner says which records are gone.
type goner struct {
	whole bool // gone looks at hashes: compute them from the rows
	gone  func(record.Record, record.Point, record.Hash) bool
}

// tops are the rank that the listing has of each row, and all its records.
func (w *work) tops(l *taking) (map[slot]record.Rank, map[identity]bool) {
	top, same := map[slot]record.Rank{}, map[identity]bool{}
	for _, c := range l.listed {
		for _, r := range c.Records {
			same[identity{slot{r.Table, r.Key}, c.Point(), w.db.hasher.Hash(r, c.Point())}] = true
			if !r.ForeignOwner(c.Writer) {
				top[slot{r.Table, r.Key}] = r.Rank(c.Point())
			}
		}
	}
	return top, same
}

// takeOver takes floors, received sets and boots.
func (w *work) takeOver(end store.ListingEnd) error {
	for _, theirs := range end.Writers {
		for i, k := range record.Kinds {
			if end.Covers(theirs.Writer, k) && theirs.Floors[i] > 0 {
				id := w.st.intern(theirs.Writer)
				s := w.st.change(id)
				s.floors[i] = max(s.floors[i], theirs.Floors[i])
				w.changed[id] = true
			}
		}
	}
	for _, t := range end.Takes {
		if t.Received.Head > 0 {
			id := w.st.intern(t.Writer)
			s := w.st.change(id)
			s.recv = s.recv.Union(t.Received)
			w.changed[id] = true
		}
	}
	w.st.each(func(mine *writerState) {
		for i, k := range record.Kinds {
			if end.Forgot(mine.writer, k) && mine.floors[i] < mine.recv.Head {
				w.st.change(mine.id).floors[i] = mine.recv.Head
				w.changed[mine.id] = true
			}
		}
	})
	for _, theirs := range end.Nodes {
		mine := w.st.node(theirs.Node)
		old := mine
		if end.Covers(record.Writer{Node: theirs.Node}, record.Owned) {
			mine.Closed, mine.Evicted = max(mine.Closed, theirs.Closed), max(mine.Evicted, theirs.Evicted)
		}
		if end.Whole(theirs.Node) {
			mine.Complete = max(mine.Complete, theirs.Complete)
		}
		if mine == old {
			continue
		}
		if err := w.setNode(mine); err != nil {
			return err
		}
		if err := w.dropOver(mine); err != nil {
			return err
		}
	}
	return nil
}
