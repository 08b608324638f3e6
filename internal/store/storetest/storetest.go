// Package storetest is the conformance suite of store.Store: what every
// implementation, on disk or in memory, must keep true. An implementation's
// test calls Run with a way to open it.
package storetest

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Names of the cluster that the suite's stores belong to.
const (
	Fleet   = "test"
	Cluster = "region/iad"
)

// Config says which store to open.
type Config struct {
	Disk   string // names the disk: opening one again finds what was committed
	Node   record.Node
	Tables []schema.Table
	Now    func() time.Time
}

// Harness opens stores of one implementation.
type Harness struct {
	// Open opens a store of cluster Cluster in fleet Fleet. The suite closes it.
	Open func(ctx context.Context, cfg Config) (store.Store, error)
}

// Tables are the suite's: one of each kind, and one that evicts.
func Tables() []schema.Table {
	text := func(name string) schema.Column { return schema.Column{Name: name, Type: "TEXT", NotNull: true} }
	num := func(name string, def int) schema.Column {
		return schema.Column{Name: name, Type: "INTEGER", NotNull: true, Default: record.Of(def)}
	}
	any := schema.Column{Name: "val", Type: "BLOB"}
	tables := []schema.Table{
		{Name: "things", Kind: record.Owned, Key: []schema.Column{text("owner"), text("id")}, Columns: []schema.Column{any, num("n", 7)}, Checks: schema.Checks("n < 1000")},
		{Name: "notes", Kind: record.Shared, Key: []schema.Column{text("id")}, Columns: []schema.Column{any}},
		{Name: "marks", Kind: record.Ranked, Key: []schema.Column{text("id")}, Columns: []schema.Column{num("num", 0), any}, RankBy: []string{"num"}},
		{Name: "gone", Kind: record.Ranked, Key: []schema.Column{text("node")}, Columns: []schema.Column{num("boot", 0)}, RankBy: []string{"boot"}, Evicts: true},
	}
	for i := range tables {
		tables[i] = tables[i].WithIDs()
	}
	return tables
}

// Run checks one implementation.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s *suite)
	}{
		{"WriteIsDenseAndVisible", writeIsDenseAndVisible},
		{"UnchangedRowIsNoWrite", unchangedRowIsNoWrite},
		{"FailedUpdateWritesNothing", failedUpdateWritesNothing},
		{"OnlyOwnRowsAreWritten", onlyOwnRowsAreWritten},
		{"CapsAreRefusedBeforeWriting", capsAreRefusedBeforeWriting},
		{"ValuesComeBackAsStored", valuesComeBackAsStored},
		{"DeleteLeavesATombstone", deleteLeavesATombstone},
		{"EveryStartTakesANewWriter", everyStartTakesANewWriter},
		{"BackwardClockStillRaisesTheBoot", backwardClockStillRaisesTheBoot},
		{"ApplyTwiceChangesNothing", applyTwiceChangesNothing},
		{"AnyOrderGivesEqualState", anyOrderGivesEqualState},
		{"HigherRankWinsWhateverTheOrder", higherRankWinsWhateverTheOrder},
		{"ForeignRecordNeverCompetes", foreignRecordNeverCompetes},
		{"UnknownTableIsWithheldAndServed", unknownTableIsWithheldAndServed},
		{"ConstraintWithholdsOnlyItsRecord", constraintWithholdsOnlyItsRecord},
		{"StampAheadIsWithheldUntilItIsNot", stampAheadIsWithheldUntilItIsNot},
		{"MalformedDeliveryIsRejected", malformedDeliveryIsRejected},
		{"DeliverCoversOnlyWhatWasReceived", deliverCoversOnlyWhatWasReceived},
		{"DeliveredHistoryRebuildsTheState", deliveredHistoryRebuildsTheState},
		{"EvictionDropsRowsInAnyOrder", evictionDropsRowsInAnyOrder},
		{"ReceivedSetDecidesEverything", receivedSetDecidesEverything},
		{"RenewStampsOnlyThisStart", renewStampsOnlyThisStart},
		{"EvictedStartLeavesWhatIsShared", evictedStartLeavesWhatIsShared},
		{"EvictedRowsAreNotStampedAgain", evictedRowsAreNotStampedAgain},
		{"ClosingIsNotStampedAgain", closingIsNotStampedAgain},
		{"FeedTellsEveryCommitInOrder", feedTellsEveryCommitInOrder},
		{"FeedResumesOverARestart", feedResumesOverARestart},
		{"ForeignPositionIsAResync", foreignPositionIsAResync},
		{"RestampWritesRowsAgainUnchanged", restampWritesRowsAgainUnchanged},
		{"ClosingDropsWhatIsOver", closingDropsWhatIsOver},
		{"ClosingsNeedNoOrder", closingsNeedNoOrder},
		{"CollectWaitsForClosingAndGaps", collectWaitsForClosingAndGaps},
		{"GapsOfTheEvictedDoNotCount", gapsOfTheEvictedDoNotCount},
		{"CompleteWritersAreForgotten", completeWritersAreForgotten},
		{"ListingHoldsAllOfItsScope", listingHoldsAllOfItsScope},
		{"ListingDropsWhatIsGoneThere", listingDropsWhatIsGoneThere},
		{"ListingEndsOnce", listingEndsOnce},
		{"ListingBringsNothingBack", listingBringsNothingBack},
		{"ListedRecordCountsOnce", listedRecordCountsOnce},
		{"ListingMakesComplete", listingMakesComplete},
		{"RepairMakesTheScopeTheSame", repairMakesTheScopeTheSame},
		{"ListingLeavesWhatThisStartWrote", listingLeavesWhatThisStartWrote},
		{"ListingOfUnwrittenVersionsIsRefused", listingOfUnwrittenVersionsIsRefused},
		{"ListingOfAForgottenWriterIsTaken", listingOfAForgottenWriterIsTaken},
		{"ListingByOneWhoForgotSetsFloors", listingByOneWhoForgotSetsFloors},
		{"ListingOfAnEarlierStartRollsNothingBack", listingOfAnEarlierStartRollsNothingBack},
		{"ClockResetLetsSharedRowsBeWritten", clockResetLetsSharedRowsBeWritten},
		{"VoidStampsAreDroppedInAnyOrder", voidStampsAreDroppedInAnyOrder},
		{"VoidStampsOutliveTheirNode", voidStampsOutliveTheirNode},
		{"VoidInAnotherNameIsWithheld", voidInAnotherNameIsWithheld},
		{"ExchangeBringsBackWhatVoidStampsHid", exchangeBringsBackWhatVoidStampsHid},
		{"ReplayBringsNoCollectedRowBack", replayBringsNoCollectedRowBack},
		{"StampsOfAnyTimeAreJudged", stampsOfAnyTimeAreJudged},
		{"ClosedStoreSaysSo", closedStoreSaysSo},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{t: t, h: h, dir: t.TempDir()}
			s.setNow(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC))
			c.test(t, s)
		})
	}
}

// suite is one test's world: a wall clock and some disks.
type suite struct {
	t   *testing.T
	h   Harness
	dir string
	now time.Time

	wall atomic.Int64 // now in nanoseconds, read by the stores' goroutines
}

func (s *suite) setNow(now time.Time) {
	s.now = now
	s.wall.Store(now.UnixNano())
}

// open opens the store of a node on its own disk.
func (s *suite) open(node record.Node) store.Store { return s.openWith(node, Tables()) }

func (s *suite) openWith(node record.Node, tables []schema.Table) store.Store {
	s.t.Helper()
	return s.openOn(node, string(node), tables)
}

// openOn opens the store of a node on a disk of some name.
func (s *suite) openOn(node record.Node, disk string, tables []schema.Table) store.Store {
	s.t.Helper()
	st, err := s.h.Open(s.t.Context(), Config{
		Disk: filepath.Join(s.dir, disk), Node: node, Tables: tables, Now: func() time.Time { return time.Unix(0, s.wall.Load()) },
	})
	if err != nil {
		s.t.Fatalf("open %s: %v", node, err)
	}
	s.t.Cleanup(func() { _ = st.Close() }) // closing twice is harmless
	return st
}

func (s *suite) close(st store.Store) {
	s.t.Helper()
	if err := st.Close(); err != nil {
		s.t.Fatalf("close: %v", err)
	}
}

// thing is a row of the owned table.
func thing(owner, id string, val any, n int) store.Row {
	return store.Row{record.Of(owner), record.Of(id), record.Of(val), record.Of(n)}
}

func note(id string, val any) store.Row { return store.Row{record.Of(id), record.Of(val)} }

func mark(id string, num int, val any) store.Row {
	return store.Row{record.Of(id), record.Of(num), record.Of(val)}
}

// put writes rows of one table as one transaction.
func (s *suite) put(st store.Store, table string, rows ...store.Row) store.Commit {
	s.t.Helper()
	c, err := st.Update(s.t.Context(), func(tx store.Tx) error {
		for _, r := range rows {
			if err := tx.Put(table, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatalf("put into %s: %v", table, err)
	}
	return c
}

func (s *suite) delete(st store.Store, table string, key ...any) store.Commit {
	s.t.Helper()
	c, err := st.Update(s.t.Context(), func(tx store.Tx) error { return tx.Delete(table, values(key)...) })
	if err != nil {
		s.t.Fatalf("delete from %s: %v", table, err)
	}
	return c
}

func values(key []any) []record.Value {
	out := make([]record.Value, len(key))
	for i, k := range key {
		out[i] = record.Of(k)
	}
	return out
}

// get returns the visible row, or nil.
func (s *suite) get(st store.Store, table string, key ...any) store.Row {
	s.t.Helper()
	var row store.Row
	errStop := errors.New("read only")
	_, err := st.Update(s.t.Context(), func(tx store.Tx) error {
		r, ok, err := tx.Get(table, values(key)...)
		if err == nil && ok {
			row = r
		}
		return errors.Join(err, errStop)
	})
	if !errors.Is(err, errStop) {
		s.t.Fatalf("get from %s: %v", table, err)
	}
	return row
}

// apply merges deliveries and fails on an error.
func (s *suite) apply(st store.Store, batch ...record.Delivery) []store.Outcome {
	s.t.Helper()
	out, err := st.Apply(s.t.Context(), batch)
	if err != nil {
		s.t.Fatalf("apply: %v", err)
	}
	if len(out) != len(batch) {
		s.t.Fatalf("apply gave %d outcomes for %d deliveries", len(out), len(batch))
	}
	return out
}

// snapshot opens a snapshot that the test closes.
func (s *suite) snapshot(st store.Store) store.Snapshot {
	s.t.Helper()
	snap, err := st.Snapshot(s.t.Context())
	if err != nil {
		s.t.Fatalf("snapshot: %v", err)
	}
	s.t.Cleanup(func() { _ = snap.Close() })
	return snap
}

// state is what a store has of a writer.
func (s *suite) state(st store.Store, w record.Writer) store.WriterState {
	s.t.Helper()
	for _, ws := range s.writers(st) {
		if ws.Writer == w {
			return ws
		}
	}
	return store.WriterState{Writer: w}
}

func (s *suite) writers(st store.Store) []store.WriterState {
	s.t.Helper()
	snap, err := st.Snapshot(s.t.Context())
	if err != nil {
		s.t.Fatalf("snapshot: %v", err)
	}
	defer snap.Close()
	ws, err := snap.Writers()
	if err != nil {
		s.t.Fatalf("writers: %v", err)
	}
	return ws
}

// written lists the writers that have written something.
func (s *suite) written(st store.Store) []store.WriterState {
	s.t.Helper()
	return slices.DeleteFunc(s.writers(st), func(ws store.WriterState) bool { return ws.Received.Head == 0 })
}

// everything delivers all that a store has received of a writer.
func (s *suite) everything(st store.Store, w record.Writer) []record.Delivery {
	s.t.Helper()
	snap, err := st.Snapshot(s.t.Context())
	if err != nil {
		s.t.Fatalf("snapshot: %v", err)
	}
	defer snap.Close()
	var out []record.Delivery
	for from := record.Version(1); ; {
		ds, err := snap.Deliver(w, record.Range{From: from, To: 1 << 40}, 1<<20)
		if err != nil {
			s.t.Fatalf("deliver: %v", err)
		}
		if len(ds) == 0 {
			return out
		}
		out = append(out, ds...)
		from = ds[len(ds)-1].Range.To + 1
	}
}

// rows lists the visible rows of a table.
func (s *suite) rows(st store.Store, table string) []store.Row {
	s.t.Helper()
	snap, err := st.Snapshot(s.t.Context())
	if err != nil {
		s.t.Fatalf("snapshot: %v", err)
	}
	defer snap.Close()
	var out []store.Row
	err = snap.Scan(table, nil, func(row store.Row, _ record.Point, _ int64) error {
		out = append(out, row)
		return nil
	})
	if err != nil {
		s.t.Fatalf("scan %s: %v", table, err)
	}
	return out
}

// changeset makes a changeset as a peer would send it.
func changeset(w record.Writer, v record.Version, wall time.Time, records ...record.Record) record.Delivery {
	return record.Pushed(record.Changeset{Writer: w, Version: v, Wall: wall.UnixMilli(), Records: records})
}
