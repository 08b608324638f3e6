// Package store is the seam between replication and the database of a node:
// what a store does, in types that need no database. Package sqlite is the
// real one, package memory its twin for simulation, and package storetest the
// conformance suite that both pass.
//
// What a store keeps true: a write is acknowledged only when it is as durable
// as configured; a version is marked received in the same transaction as its
// rows, fingerprints and feed entry; nothing is published before its commit;
// of two records of one key the higher rank stays, whatever the order; a
// record that cannot be shown is withheld, and counts as received.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// Errors a caller branches on.
var (
	ErrClosed   = errors.New("store is closed")
	ErrResync   = errors.New("feed position is not on this store's line: resync")
	ErrTooLarge = errors.New("over the cap")
	ErrFenced   = errors.New("writes are fenced")
	// ErrOvertaken refuses a write that would rank at or below a record of its
	// key that was received: it would never be seen.
	ErrOvertaken = errors.New("overtaken")
	// ErrClock refuses a shared write of a node whose clock is not its peers'.
	ErrClock = errors.New("clock differs from the peers'")
	// ErrUnstamped refuses a closing while live rows of earlier writers stand.
	ErrUnstamped = errors.New("live rows of earlier writers are not written again")
	// ErrUnsupported says that this store does not collect, close or list.
	ErrUnsupported = errors.New("not supported by this store")
	// ErrNotWithheld says that no record with this hash is withheld.
	ErrNotWithheld = errors.New("not withheld")
	// ErrHeld refuses to release what would not be shown.
	ErrHeld = errors.New("stays withheld")
)

// NotOwnerError refuses a write to a row that another node owns.
type NotOwnerError struct {
	Table string
	Key   []record.Value
	Owner string      // who owns the row
	Node  record.Node // who tried
}

func (e *NotOwnerError) Error() string {
	return fmt.Sprintf("table %s: row %v belongs to %q; node %q writes only rows in its own name", e.Table, e.Key, e.Owner, e.Node)
}

// Row is the values of one row in the order of schema.Table.
type Row []record.Value

// Tx is one local write transaction. It is valid only inside the function that
// got it.
type Tx interface {
	// Get returns the visible row with this key.
	Get(table string, key ...record.Value) (Row, bool, error)
	// Scan calls fn for each visible row whose key begins with prefix, in key
	// order, until fn returns an error.
	Scan(table string, prefix []record.Value, fn func(Row) error) error
	// Put writes a whole row.
	Put(table string, row Row) error
	// Delete removes a row; a missing one is no error.
	Delete(table string, key ...record.Value) error
}

// Commit is the answer to a local write.
type Commit struct {
	Point    record.Point   // what was written; zero if nothing changed
	Delayed  time.Duration  // how long the write waited because this node writes more than its budget
	Standing []record.Point // for a write that changed nothing: the records that are there
	Records  int
}

// Status is what became of a delivery.
type Status int

// The outcomes of a delivery.
const (
	Applied   Status = iota + 1 // some version was new and is now received
	Duplicate                   // every version had been received
	Rejected                    // malformed: nothing of it was taken, see Err
)

// Outcome is what became of one delivery.
type Outcome struct {
	Status   Status
	Withheld int   // records received that are not visible
	Err      error // why it was rejected
}

// WriterState is what a store has of one writer. Arrays are in the order of
// record.Kinds.
type WriterState struct {
	Writer       record.Writer
	Received     record.Received
	Fingerprints [len(record.Kinds)]record.Fingerprint
	Floors       [len(record.Kinds)]record.Version // the highest version of which a tombstone of the kind was collected, here or where a listing came from
}

// Change is one visible row that changed. Old and New are nil for a row that
// is not there. After a resume from disk Old is unknown: OldKnown is false and
// New is the row as it is now.
type Change struct {
	Table    string
	Key      record.Key
	Old, New Row
	OldKnown bool
	Point    record.Point // of the record that is there now
	Wall     int64        // Unix milliseconds of its changeset
}

// Entry is one step of the feed: a changeset, delivery, listing or collection
// that was committed. What Restamp and CloseEarlier write has no Changes: it
// goes to peers and concerns nobody else.
type Entry struct {
	Position  Position
	Point     record.Point      // writer and highest version it brought; zero if it brought none
	Local     *record.Changeset // set if it was written here, since this start
	States    []WriterState     // of each writer that it changed, after it
	Nodes     []NodeState       // of each node whose boots it changed, after it
	Forgotten []record.Writer   // of whom nothing is known from here on
	Changes   []Change
}

// Position is a place in a store's feed. Outside this process it is opaque.
type Position struct {
	Node     record.Node
	Boot     uint64
	Bits     uint64
	Sequence uint64
}

// Feed reads entries in commit order, each once. A consumer reads at its own
// pace; one that fell behind what the store keeps gets ErrResync, and opens a
// new feed after reading a snapshot.
type Feed interface {
	// Next waits for entries after the last ones and returns at least one.
	Next(ctx context.Context) ([]Entry, error)
	Close() error
}

// Withheld is a record that was received and is not visible.
type Withheld struct {
	Table  string // name, or the id in hex if it is unknown
	Key    record.Key
	Point  record.Point
	Hash   record.Hash
	Reason Reason
	Detail string
	Since  time.Time
	Stub   bool // its cells were discarded
	Size   int  // in bytes
}

// Reason is why a record is withheld.
type Reason string

// The reasons, and what ends each.
const (
	ReasonSchema     Reason = "schema"     // its table is unknown; ends when the schema arrives
	ReasonClock      Reason = "clock"      // stamped ahead of the wall; ends by time
	ReasonConstraint Reason = "constraint" // a constraint or type of the table refuses it; ends when the schema or the program changes, or a person releases it
	ReasonOwner      Reason = "owner"      // not in the name of its writer's node; never ends, and only a stub is kept
	ReasonPanic      Reason = "panic"      // the program failed on it; ends as a constraint does
	ReasonCrash      Reason = "crash"      // applying it ended the process twice; tried again by another program, and every hour
)

// Reasons lists them.
var Reasons = [...]Reason{ReasonSchema, ReasonClock, ReasonConstraint, ReasonOwner, ReasonPanic, ReasonCrash}

// Snapshot is a consistent view of a store. Close it soon: it pins the log.
type Snapshot interface {
	// Position is where a feed continues from this view.
	Position() Position
	// Writers returns the state of every known writer, by writer.
	Writers() ([]WriterState, error)
	// Nodes returns the state of every node of which a boot is closed, evicted
	// or complete, by node.
	Nodes() ([]NodeState, error)
	// Deliver answers for the versions of r that this store has received and
	// that lie above every floor of w, ascending, up to about limit bytes (at
	// least one delivery if there is any). Withheld records are included. What
	// it returns never covers a version that this store has not received, nor
	// one at or below a floor: who lacks that takes a listing. The records of
	// the kinds without are left out, and their floors do not count.
	Deliver(w record.Writer, r record.Range, limit int, without ...record.Kind) ([]record.Delivery, error)
	// List begins a listing of scopes. It reads from the snapshot as long as
	// that is open.
	List(scopes []Scope) (Listing, error)
	// Scan calls fn for each visible row whose key begins with prefix, with
	// the changeset it came in, in key order.
	Scan(table string, prefix []record.Value, fn func(row Row, at record.Point, wall int64) error) error
	// Withheld lists what is received and not visible.
	Withheld() ([]Withheld, error)
	Close() error
}

// Store is a node's database, or one lane of it. Safe for concurrent use.
type Store interface {
	// Writer returns the writer of this start (it changes by Renew).
	Writer() record.Writer
	// Tables returns the replicated tables.
	Tables() []schema.Table
	// Update runs fn as one transaction and returns when its changeset is
	// durable. If fn returns an error nothing is written. A row left as it
	// was is no write; if all are, Commit.Point is zero.
	Update(ctx context.Context, fn func(Tx) error) (Commit, error)
	// Apply merges what peers sent, in one or more transactions, and returns
	// an outcome for each delivery. An error means that the store could not
	// say (disk, closing): nothing is withheld, and the caller offers all of
	// it again later. Versions received before are dropped, those of writers
	// up to their node's complete boot too.
	Apply(ctx context.Context, batch []record.Delivery) ([]Outcome, error)
	// Renew takes a new writer with a boot of at least boot, above all that is
	// known, closed or evicted of this node, and stamps again under it what
	// this start has written, so that it ranks above an earlier writer that
	// the node had not known of. Closings are not stamped again, nor what an
	// eviction has dropped. Where nothing but an eviction asks for it, nor are
	// shared and ranked records: it does not touch them, and under another name
	// they would come back where others have collected their delete.
	Renew(ctx context.Context, boot uint64) (record.Writer, error)
	// ResetClock takes a new writer and a clock of shared tables that begins at
	// the wall of now. A row of VoidTable makes void what earlier writers of
	// this node have stamped after it, on every node, and what is kept of that
	// here is stamped again as it is: nobody but peers hears of it. It is for a
	// wall that was far ahead and is right again: the caller knows that.
	ResetClock(ctx context.Context) (ClockReset, error)
	// Restamp writes again, under the writer of now, up to limit live owned
	// rows of this node whose records are of earlier writers, as they are:
	// withheld ones and those of unknown tables too, stubs and the rows of
	// ClosedTable not. It makes one changeset and reports how many such rows
	// are left. It passes the filter of unchanged rows.
	Restamp(ctx context.Context, limit int) (left int, err error)
	// CloseEarlier writes the closing of all writers of this node that are
	// earlier than w, and is in effect and complete here with it. ErrOvertaken
	// if w is not the writer of now. ErrUnstamped if Restamp has rows
	// left; if this writer has closed already, the commit names that as
	// standing. Whether it is time is for the caller to know: once this node
	// has taken what every known node had, as package replica decides.
	CloseEarlier(ctx context.Context, w record.Writer) (Commit, error)
	// TakeListing takes a part of a peer's listing, in order. An error means
	// that the store could not say: the listing is to be asked for anew. It
	// drops no owned or ranked record that this start has written, as only
	// this start can have ended it, and one that tells of versions which this
	// start has not written is ErrNotWritten.
	TakeListing(ctx context.Context, p ListingPage) error
	// Collect drops up to limit tombstones that are older than their kind's
	// age, where no gap counts, and raises their floors. Gaps count in writers
	// above what is closed or evicted of their node. An owned tombstone goes
	// if there is no such gap in its node's writers and the closing made by
	// its own writer is in effect here; a shared one if there is none in any
	// writer. It also forgets writers up to their node's complete boot of whom
	// no record is left. Withheld tombstones stay.
	Collect(ctx context.Context, ages Ages, limit int) (Collected, error)
	// Snapshot opens a consistent view.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Feed reads on from a position: from a snapshot's, or one that a client
	// kept, also over a restart. ErrResync if it is not on this store's line
	// or older than what is kept.
	Feed(from Position) (Feed, error)
	Close() error
}
