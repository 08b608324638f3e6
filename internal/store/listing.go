package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// NodeState is what a store knows of all writers of one node at once. Boots
// only rise; zero means none.
type NodeState struct {
	Node record.Node
	// Closed is the highest boot that a closing in effect closes. A closing is
	// in effect once every version up to its own was received of its writer.
	// Owned records with boots up to it are dropped, neither taken nor served.
	Closed uint64
	// Evicted does the same by the word of a table that evicts.
	Evicted uint64
	// Complete is the boot up to which every version of the node's writers
	// counts as received, known or not. It is never above Closed.
	Complete uint64
}

// Over returns the boot up to which the node's owned records are over, and
// gaps in its writers no longer count.
func (n NodeState) Over() uint64 { return max(n.Closed, n.Evicted) }

// Scope is what one listing covers: the owned rows of one node, of all its
// writers, or all shared or all ranked rows.
type Scope struct {
	Kind record.Kind
	Node record.Node // owned: whose; else empty
}

// ScopeOf returns the scope that the records of w's node and a kind are in.
func ScopeOf(w record.Writer, k record.Kind) Scope {
	if k == record.Owned {
		return Scope{k, w.Node}
	}
	return Scope{Kind: k}
}

// Listing reads every record of some scopes from its snapshot: rows,
// tombstones that are kept, what is withheld, stubs, and under their writer's
// node the records in another node's name.
type Listing interface {
	// Next returns the next records, of about limit bytes and at least one,
	// in any order, grouped as their changesets are. At the end it returns
	// io.EOF, or ErrDamaged if the records did not sum to the fingerprints
	// that the snapshot states for any writer and listed kind. The hash of a
	// record is computed from what was read, not read.
	Next(limit int) ([]record.Changeset, error)
}

// ErrNoListing refuses a page of a listing whose first one is not staged: an
// end without the pages before it would drop every row of its scopes.
var ErrNoListing = errors.New("page of a listing that has not begun")

// ErrDamaged says that rows do not sum to their stored fingerprint.
var ErrDamaged = errors.New("rows do not sum to their fingerprint")

// ErrNotWritten says that a listing tells of a version that this start has not
// written.
var ErrNotWritten = errors.New("this start has not written that")

// Mode is what a listing is taken for.
type Mode byte

const (
	// CatchUp takes a listing in place of ranges: first every row in scope is
	// dropped whose version the responder has received (or, if it is owned,
	// whose boot is over at the responder) and for which the listing has no
	// record at least as high. Then, by rank, only those records are taken
	// whose version was not received here or whose key was just dropped. Then
	// come floors, received sets, closed and evicted boots, and complete ones.
	CatchUp Mode = iota + 1
	// Exchange takes every record by rank, and drops none: both sides are
	// sound and have received the same, yet a late write met a collected
	// tombstone. Nothing else is taken over.
	Exchange
	// Repair makes the scope what the responder has: every row is dropped
	// whose version the responder has received and which is not in the
	// listing as it is, then every record is taken by rank. The stored
	// fingerprints are computed anew from what is then there.
	Repair
)

// ListingPage is a part of a listing, as a peer sent it. Nothing of it shows
// before its End came; then it may be applied in several transactions, the
// last of which brings drops, floors, received sets and boots.
type ListingPage struct {
	First  bool               // what is staged of another listing is discarded; ErrNoListing if none of this one came first
	Listed []record.Changeset // records of End.Scopes
	Rest   []record.Changeset // records of other kinds, in the versions of End.Takes
	End    *ListingEnd        // in the last page
}

// ListingEnd is what a listing says beside its records. All of it is from the
// responder's one snapshot.
type ListingEnd struct {
	Mode    Mode
	Scopes  []Scope
	Writers []WriterState   // of every writer that a scope reaches: received set, floors
	Nodes   []NodeState     // of every node that a scope reaches
	Takes   []record.Closed // what counts as received afterwards, beside what did: all of its records are in this listing
}

// Covers reports whether records of w's node and kind k are listed.
func (e ListingEnd) Covers(w record.Writer, k record.Kind) bool {
	return slices.Contains(e.Scopes, ScopeOf(w, k))
}

// Whole reports whether every kind of n's records is listed: then its complete
// boot is taken over.
func (e ListingEnd) Whole(n record.Node) bool {
	for _, k := range record.Kinds {
		if !e.Covers(record.Writer{Node: n}, k) {
			return false
		}
	}
	return true
}

// Forgot reports whether the responder knows nothing of w any more, as nothing
// of it was live and its tombstones were collected. So whoever has dropped its
// records of a listed kind has none to answer ranges of it with: what it has
// received of w is below its floor.
func (e ListingEnd) Forgot(w record.Writer, k record.Kind) bool {
	return e.Covers(w, k) &&
		slices.ContainsFunc(e.Nodes, func(n NodeState) bool { return n.Node == w.Node && w.Boot <= n.Complete }) &&
		!slices.ContainsFunc(e.Writers, func(s WriterState) bool { return s.Writer == w })
}

// CheckOwn refuses what no peer can say of the writers of this start: that
// they have written more than they have. head returns how much a writer has,
// and whether it is of this start. Such a record would outrank what is written
// next, and such a received set would let a listing drop it.
func (p ListingPage) CheckOwn(head func(record.Writer) (record.Version, bool)) error {
	beyond := func(w record.Writer, v record.Version) error {
		if h, own := head(w); own && v > h {
			return fmt.Errorf("version %d of %v, which has written %d: %w", v, w, h, ErrNotWritten)
		}
		return nil
	}
	for _, c := range slices.Concat(p.Listed, p.Rest) {
		if err := beyond(c.Writer, c.Version); err != nil {
			return err
		}
	}
	if p.End == nil {
		return nil
	}
	for _, w := range p.End.Writers {
		if err := beyond(w.Writer, max(w.Received.Head, slices.Max(w.Floors[:]))); err != nil {
			return err
		}
	}
	for _, t := range p.End.Takes {
		if err := beyond(t.Writer, t.Received.Head); err != nil {
			return err
		}
	}
	return nil
}

// Ages is how old a tombstone must be to be collected, by the wall time of its
// changeset. Age is no part of what makes collecting safe.
type Ages struct {
	Owned  time.Duration
	Shared time.Duration
}

// The default ages.
const (
	OwnedAge  = 24 * time.Hour
	SharedAge = 7 * 24 * time.Hour
)

// Collected counts what a call of Collect dropped.
type Collected struct {
	Tombstones int
	Writers    int // forgotten
}
