package sqlite_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// starts is a node with several starts behind it, and a peer of it.
type starts struct {
	t          *testing.T
	wall       *clock
	path       string
	node, peer *sqlite.DB
}

func newStarts(t *testing.T) *starts {
	p := &starts{t: t, wall: newClock(), path: filepath.Join(t.TempDir(), "w1.db")}
	p.peer = openAt(t, filepath.Join(t.TempDir(), "w2.db"), sqlite.Config{Node: "w2", Now: p.wall.now})
	p.start()
	return p
}

func (p *starts) start() {
	p.t.Helper()
	if p.node != nil {
		if err := p.node.Close(); err != nil {
			p.t.Fatal(err)
		}
	}
	p.wall.add(time.Minute)
	p.node = openAt(p.t, p.path, sqlite.Config{Now: p.wall.now})
}

// sync brings to b what it lacks of a, by ranges.
func (p *starts) sync(a, b *sqlite.DB) {
	p.t.Helper()
	for _, ws := range states(p.t, a) {
		if ws.Writer != b.Writer() {
			apply(p.t, b, deliverAll(p.t, a, ws.Writer)...)
		}
	}
}

func (p *starts) closeEarlier() {
	p.t.Helper()
	for left := 1; left > 0; {
		var err error
		if left, err = p.node.Restamp(p.t.Context(), 2); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := p.node.CloseEarlier(p.t.Context(), p.node.Writer()); err != nil {
		p.t.Fatal(err)
	}
}

func nodesOf(t *testing.T, db *sqlite.DB) []store.NodeState {
	t.Helper()
	s, err := db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out, err := s.Nodes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// list copies listings of scopes from a to b.
func list(t *testing.T, a, b *sqlite.DB, mode store.Mode, scopes ...store.Scope) {
	t.Helper()
	s, err := a.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := s.List(scopes)
	if err != nil {
		t.Fatal(err)
	}
	first := true
	for {
		part, err := l.Next(100)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		if err := b.TakeListing(t.Context(), store.ListingPage{First: first, Listed: part}); err != nil {
			t.Fatal(err)
		}
		first = false
	}
	end := &store.ListingEnd{Mode: mode, Scopes: scopes}
	if end.Writers, err = s.Writers(); err == nil {
		end.Nodes, err = s.Nodes()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range end.Writers {
		end.Takes = append(end.Takes, record.Closed{Writer: w.Writer, Received: w.Received})
	}
	if err := b.TakeListing(t.Context(), store.ListingPage{First: first, End: end}); err != nil {
		t.Fatal(err)
	}
}

func allScopes() []store.Scope {
	return []store.Scope{{Kind: record.Owned, Node: "w1"}, {Kind: record.Owned, Node: "w2"}, {Kind: record.Shared}, {Kind: record.Ranked}}
}

func tombstones(t *testing.T, db *sqlite.DB) int64 {
	t.Helper()
	return query(t, db, "SELECT (SELECT count(*) FROM _fb_rows_machines WHERE _fb_del) + (SELECT count(*) FROM _fb_rows_notes WHERE _fb_del)")[0][0].Int
}

// A closing writes the rows of earlier starts again, unchanged and unseen, and
// ends their records everywhere, but not before no gap is below it.
func TestClosingEndsEarlierStarts(t *testing.T) {
	p := newStarts(t)
	for i := range 5 {
		put(t, p.node, machine("w1", fmt.Sprint(i), "web"))
	}
	first := p.node.Writer()
	p.sync(p.node, p.peer)
	p.start()
	if _, err := p.node.CloseEarlier(t.Context(), p.node.Writer()); !errors.Is(err, store.ErrUnstamped) {
		t.Errorf("a closing over rows of an earlier start: %v", err)
	}
	feed, atPeer := feedFrom(t, p.node), feedFrom(t, p.peer)
	p.closeEarlier()
	for _, f := range []store.Feed{feed} {
		entries, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if len(e.Changes) > 0 || e.Local == nil {
				t.Errorf("entry %+v: want a changeset for peers and no change", e)
			}
		}
	}
	again, err := p.node.CloseEarlier(t.Context(), p.node.Writer())
	if err != nil || len(again.Standing) != 1 || again.Records != 0 {
		t.Errorf("closing twice: %+v, %v", again, err)
	}
	second := p.node.Writer()
	all := deliverAll(t, p.node, second)
	var sets []record.Changeset
	for _, d := range all {
		sets = append(sets, d.Changesets...)
	}
	if len(sets) != 4 {
		t.Fatalf("%d changesets, want three of rows and a closing", len(sets))
	}
	want := store.NodeState{Node: "w1", Closed: second.Boot - 1, Complete: second.Boot - 1}
	for _, i := range []int{3, 0, 2} { // the closing first: it waits for the gap
		apply(t, p.peer, record.Pushed(sets[i]))
		if got := nodesOf(t, p.peer); len(got) != 0 {
			t.Errorf("a closing above a gap is in effect: %+v", got)
		}
	}
	apply(t, p.peer, record.Pushed(sets[1]))
	same(t, "boots at the peer", []store.NodeState{want}, nodesOf(t, p.peer))
	same(t, "boots at the node", []store.NodeState{want}, nodesOf(t, p.node))
	entries, err := atPeer.Next(t.Context())
	if err != nil || len(entries[len(entries)-1].Nodes) != 1 {
		t.Errorf("the feed tells of no boot: %+v, %v", entries, err)
	}
	for _, e := range entries {
		if len(e.Changes) > 0 {
			t.Errorf("a watcher would be told of %+v", e.Changes)
		}
	}
	if got := query(t, p.peer, "SELECT count(*) FROM machines"); got[0][0].Int != 5 {
		t.Errorf("%v rows, want 5", got)
	}
	for _, ws := range states(t, p.peer) {
		if ws.Writer == first && ws.Fingerprints[0] != (record.Fingerprint{}) {
			t.Errorf("the closed writer has a fingerprint: %v", ws.Fingerprints)
		}
	}
	late := pushed(first, 90, machineRecord("w1", "late", "web"))
	if out := apply(t, p.peer, late); out[0].Status != store.Duplicate {
		t.Errorf("a version of a writer that all is known of: %+v", out[0])
	}
	sound(t, p.node)
	sound(t, p.peer)
}

// What was collected is never brought back by one who was away: he is told by
// a listing, in pages, and keeps what the other has not received.
func TestListingEndsWhatWasCollected(t *testing.T) {
	p := newStarts(t)
	for i := range 4 {
		put(t, p.node, machine("w1", fmt.Sprint(i), "web"))
	}
	mustExec(t, p.node, "INSERT INTO notes (id, body) VALUES ('a', 'x'), ('b', 'x')")
	away := openAt(t, filepath.Join(t.TempDir(), "w3.db"), sqlite.Config{Node: "w3", Now: p.wall.now})
	p.sync(p.node, away)
	p.start()
	p.sync(p.node, p.peer)
	p.closeEarlier()
	mustExec(t, p.node, "DELETE FROM machines WHERE id IN ('1', '2')")
	mustExec(t, p.node, "DELETE FROM notes WHERE id = 'b'")
	p.sync(p.node, p.peer)
	got, err := p.peer.Collect(t.Context(), store.Ages{Owned: store.OwnedAge, Shared: store.SharedAge}, 100)
	if err != nil || got.Tombstones != 0 {
		t.Errorf("collected young ones: %+v, %v", got, err)
	}
	p.wall.add(25 * time.Hour)
	if got, err = p.peer.Collect(t.Context(), store.Ages{Owned: store.OwnedAge, Shared: store.SharedAge}, 100); err != nil || got.Tombstones != 2 || tombstones(t, p.peer) != 1 {
		t.Errorf("after a day: %+v, %v, %d left", got, err, tombstones(t, p.peer))
	}
	p.wall.add(7 * 24 * time.Hour)
	if got, err = p.peer.Collect(t.Context(), store.Ages{Owned: store.OwnedAge, Shared: store.SharedAge}, 100); err != nil || got.Tombstones != 1 || tombstones(t, p.peer) != 0 {
		t.Errorf("after a week: %+v, %v", got, err)
	}
	second := p.node.Writer()
	for _, d := range deliverAll(t, p.peer, second) {
		if d.Range.From <= 4 {
			t.Errorf("served %v, at or below a floor", d.Range)
		}
	}
	put(t, away, machine("w3", "mine", "web"))
	mustExec(t, away, "INSERT INTO notes (id, body) VALUES ('mine', 'x')")
	list(t, p.peer, away, store.CatchUp, append(allScopes(), store.Scope{Kind: record.Owned, Node: "w3"})...)
	same(t, "machines", []store.Row{{record.Of("0")}, {record.Of("3")}, {record.Of("mine")}}, query(t, away, "SELECT id FROM machines ORDER BY id"))
	same(t, "notes", []store.Row{{record.Of("a")}, {record.Of("mine")}}, query(t, away, "SELECT id FROM notes ORDER BY id"))
	sound(t, away)
	p.sync(away, p.peer)
	same(t, "boots", nodesOf(t, p.peer), nodesOf(t, away))
	ofNode := cmpopts.IgnoreSliceElements(func(ws store.WriterState) bool { return ws.Writer.Node != "w1" || ws.Writer.Boot < second.Boot })
	if diff := cmp.Diff(states(t, p.peer), states(t, away), ofNode); diff != "" {
		t.Errorf("states (-peer +away):\n%s", diff)
	}
	if got, err = p.peer.Collect(t.Context(), store.Ages{Owned: store.OwnedAge, Shared: store.SharedAge}, 100); err != nil {
		t.Errorf("another round: %+v, %v", got, err)
	}
}

func TestTombstonesStayWhileAGapCounts(t *testing.T) {
	p := newStarts(t)
	put(t, p.node, machine("w1", "x", "web"))
	mustExec(t, p.node, "DELETE FROM machines")
	mustExec(t, p.node, "INSERT INTO notes (id) VALUES ('x')")
	mustExec(t, p.node, "DELETE FROM notes")
	p.sync(p.node, p.peer)
	p.wall.add(30 * 24 * time.Hour)
	ages := store.Ages{Owned: store.OwnedAge, Shared: store.SharedAge}
	w9 := record.Writer{Node: "w9", Boot: 5, Bits: 1}
	apply(t, p.peer, pushed(w9, 2, machineRecord("w9", "x", "web")))
	if got, err := p.peer.Collect(t.Context(), ages, 100); err != nil || got.Tombstones != 0 {
		t.Errorf("with a gap of w9 and no closing: %+v, %v", got, err)
	}
	p.closeEarlier()
	p.sync(p.node, p.peer)
	if got, err := p.peer.Collect(t.Context(), ages, 100); err != nil || got.Tombstones != 1 {
		t.Errorf("with a gap of w9 that no owned row of w1 waits for: %+v, %v", got, err)
	}
	evict := recordOf(tables(t)[3], store.Row{record.Of("w9"), record.Of(5)}, "")
	apply(t, p.peer, pushed(w9, 3, evict))
	if got, err := p.peer.Collect(t.Context(), ages, 100); err != nil || got.Tombstones != 1 || tombstones(t, p.peer) != 0 {
		t.Errorf("with an evicted gap: %+v, %v", got, err)
	}
	sound(t, p.peer)
}

// Writers that nothing is left of are forgotten, and stay so.
func TestClosedWritersAreForgotten(t *testing.T) {
	p := newStarts(t)
	put(t, p.node, machine("w1", "x", "web"))
	first := p.node.Writer()
	p.start()
	p.sync(p.node, p.peer)
	p.closeEarlier()
	p.sync(p.node, p.peer)
	feed := feedFrom(t, p.peer)
	got, err := p.peer.Collect(t.Context(), store.Ages{}, 10)
	if err != nil || got.Writers != 1 {
		t.Fatalf("%+v, %v: want one writer forgotten", got, err)
	}
	entries, err := feed.Next(t.Context())
	if err != nil || len(entries) != 1 || len(entries[0].Forgotten) != 1 || entries[0].Forgotten[0] != first {
		t.Errorf("the feed tells %+v, %v", entries, err)
	}
	for _, ws := range states(t, p.peer) {
		if ws.Writer == first {
			t.Errorf("%v is known yet", ws)
		}
	}
	if out := apply(t, p.peer, pushed(first, 1, machineRecord("w1", "x", "old"))); out[0].Status != store.Duplicate {
		t.Errorf("what was forgotten comes again: %+v", out[0])
	}
	if got, err := p.node.Collect(t.Context(), store.Ages{}, 10); err != nil || got.Writers != 1 {
		t.Errorf("at the node itself: %+v, %v", got, err)
	}
	p.start()
	put(t, p.node, machine("w1", "y", "web"))
	p.sync(p.node, p.peer)
	sound(t, p.peer)
	sound(t, p.node)
}

// Damage is found by whoever lists, and a listing of a sound node mends it.
func TestDamagedRowsAreNotListedAndAreRepaired(t *testing.T) {
	p := newStarts(t)
	for i := range 3 {
		put(t, p.node, machine("w1", fmt.Sprint(i), "web"))
	}
	p.sync(p.node, p.peer)
	if err := p.node.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := plain.Open(p.path, plain.Config{})
	if err == nil {
		err = errors.Join(raw.Script("DROP TRIGGER _fb_on_update_machines; UPDATE machines SET app = 'rot' WHERE id = '1'"), raw.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	p.node = openAt(t, p.path, sqlite.Config{Now: p.wall.now})
	s, err := p.node.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.List(allScopes())
	for err == nil {
		_, err = l.Next(1 << 20)
	}
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a damaged row is listed: %v", err)
	}
	_ = s.Close()
	list(t, p.peer, p.node, store.Repair, store.Scope{Kind: record.Owned, Node: "w1"})
	same(t, "rows", query(t, p.peer, "SELECT id, app FROM machines ORDER BY id"), query(t, p.node, "SELECT id, app FROM machines ORDER BY id"))
	sound(t, p.node)
}
