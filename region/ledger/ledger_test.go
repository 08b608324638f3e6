package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
	"github.com/firebreak-dev/firebreak/region/ledger"
	"github.com/firebreak-dev/firebreak/region/machine"
	"github.com/firebreak-dev/firebreak/region/table"
	"github.com/firebreak-dev/firebreak/region/watch"
)

// region stands for everybody else.
type region struct {
	behind  error  // what CaughtUp returns
	missing bool   // some known node has nothing yet
	during  func() // what happens while they are asked
}

func (r *region) CaughtUp(context.Context) error { return r.behind }

func (r *region) Everywhere(_ context.Context, points []record.Point) ([]bool, error) {
	if r.during != nil {
		r.during()
	}
	return slices.Repeat([]bool{!r.missing}, len(points)), r.behind
}

type world struct {
	t     *testing.T
	store *memory.Store
	hub   *watch.Hub
	peers *region
	now   time.Time
	spoke []fleet.MachineID
	*ledger.Ledger
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, peers: &region{}, now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return w.now }
	var err error
	if w.store, err = memory.Open(memory.Config{Fleet: "f", Cluster: "region/iad", Node: "w1", Tables: table.All(), Now: clock}); err != nil {
		t.Fatal(err)
	}
	if w.hub, err = watch.New(watch.Config{Region: "iad", Store: w.store}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.hub.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; _ = w.store.Close() })
	w.Ledger, err = ledger.New(ledger.Config{
		Region: "iad", Worker: "w1", Store: w.store, Index: w.hub, Peers: w.peers, Now: clock,
		Spoke: func(ids []fleet.MachineID, all bool) { w.spoke = append(w.spoke, ids...) },
	})
	if err != nil {
		t.Fatal(err)
	}
	<-w.hub.Ready()
	return w
}

func in(id string, s claim.State) machine.Input {
	return machine.Input{Machine: table.Machine{Worker: "w1", ID: fleet.MachineID(id), App: "web", State: s}}
}

func ins(n int) []machine.Input {
	var out []machine.Input
	for i := range n {
		out = append(out, in(fmt.Sprintf("m%04d", i), claim.Started))
	}
	return out
}

func (w *world) publish(list ...machine.Input) ledger.Written {
	w.t.Helper()
	out, err := w.Publish(w.t.Context(), list)
	if err != nil {
		w.t.Fatal(err)
	}
	w.settleHub()
	return out
}

// settleHub waits until the index has what the store has.
func (w *world) settleHub() {
	w.t.Helper()
	snap, err := w.store.Snapshot(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer snap.Close()
	if err := w.hub.WaitPosition(w.t.Context(), snap.Position()); err != nil {
		w.t.Fatal(err)
	}
}

// other applies a row of another worker's.
func (w *world) other(worker string, version record.Version, m table.Machine) {
	w.t.Helper()
	m.Worker = fleet.Worker(worker)
	w.remote(record.Node(worker), version, table.Machines, m.Row())
}

func (w *world) reclaim(id string, epoch int, owner string) {
	w.t.Helper()
	w.remote("op", 1, table.Reclaims, store.Row{record.Of(id), record.Of(epoch), record.Of(owner), record.Of("op"), record.Of("")})
}

func (w *world) remote(node record.Node, version record.Version, name string, row store.Row) {
	w.t.Helper()
	i := slices.IndexFunc(table.All(), func(s schema.Table) bool { return s.Name == name })
	r, err := table.All()[i].Record(row, "")
	if err != nil {
		w.t.Fatal(err)
	}
	c := record.Changeset{Writer: record.Writer{Node: node, Boot: 1, Bits: 1}, Version: version, Records: []record.Record{r}}
	if out, err := w.store.Apply(w.t.Context(), []record.Delivery{record.Pushed(c)}); err != nil || out[0].Status != store.Applied {
		w.t.Fatalf("apply: %+v, %v", out, err)
	}
	w.settleHub()
}

// row returns this worker's row of a machine.
func (w *world) row(id string) (table.Machine, bool) {
	w.t.Helper()
	var out table.Machine
	found := false
	w.scan(table.Machines, func(r store.Row) {
		if m, err := table.MachineOf(r); err == nil && m.ID == fleet.MachineID(id) {
			out, found = m, true
		}
	})
	return out, found
}

func (w *world) scan(name string, fn func(store.Row)) {
	w.t.Helper()
	snap, err := w.store.Snapshot(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer snap.Close()
	if err := snap.Scan(name, []record.Value{record.Of("w1")}, func(r store.Row, _ record.Point, _ int64) error {
		fn(r)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) settle() (removed, waiting int) {
	w.t.Helper()
	w.settleHub()
	removed, waiting, err := w.Settle(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.settleHub()
	return removed, waiting
}

func (w *world) withdraw(why claim.Why, ids ...fleet.MachineID) []fleet.MachineID {
	w.t.Helper()
	_, unknown, err := w.Withdraw(w.t.Context(), ids, why)
	if err != nil {
		w.t.Fatal(err)
	}
	w.settleHub()
	return unknown
}

func TestPublishTwiceIsOneWrite(t *testing.T) {
	w := newWorld(t)
	first := w.publish(in("a", claim.Started), in("b", claim.Started))
	second := w.publish(in("b", claim.Started), in("a", claim.Started))
	if first.Changed != 2 || len(second.Points) != 0 || second.Unchanged != 2 {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if diff := cmp.Diff(first.Points, second.Standing); diff != "" {
		t.Errorf("standing (-first's points +got):\n%s", diff)
	}
	if diff := cmp.Diff([]fleet.MachineID{"a", "b", "b", "a"}, w.spoke); diff != "" {
		t.Errorf("spoken for (-want +got):\n%s", diff)
	}
}

func TestHealthIsWrittenWithItsTimeOfChange(t *testing.T) {
	w := newWorld(t)
	healthy := in("a", claim.Started)
	healthy.Health = claim.Passing
	w.publish(healthy)
	since := w.now.UnixMilli()
	w.now = w.now.Add(time.Minute)
	if out := w.publish(healthy); out.Changed != 0 {
		t.Errorf("the same health again changed %d rows", out.Changed)
	}
	w.scan(table.Health, func(r store.Row) {
		if h, _ := table.HealthOf(r); h.Since != since {
			t.Errorf("since = %d, want %d", h.Since, since)
		}
	})
	if _, err := w.SetHealth(t.Context(), []table.HealthRow{{ID: "a", Status: claim.Failing}, {ID: "none", Status: claim.Failing}}); err == nil {
		t.Error("health of a machine that does not run is taken")
	}
	w.withdraw(claim.Withdrawn, "a")
	w.scan(table.Health, func(r store.Row) { t.Errorf("health row %v of an ended machine", r) })
}

func TestPublishIsAllOrNothing(t *testing.T) {
	w := newWorld(t)
	w.other("w2", 1, table.Machine{ID: "gone", App: "web", State: claim.Ended, Why: claim.Destroyed, Epoch: 1})
	_, err := w.Publish(t.Context(), []machine.Input{in("a", claim.Started), in("gone", claim.Starting)})
	var destroyed *ledger.DestroyedError
	if !errors.As(err, &destroyed) || destroyed.By != "w2" {
		t.Fatalf("publish = %v, want a DestroyedError by w2", err)
	}
	if _, ok := w.row("a"); ok {
		t.Error("the other machine of the refused list was written")
	}
	// A stream is refused before its first part, too.
	list := append(ins(1500), in("gone", claim.Starting))
	if _, err := w.PublishList(t.Context(), list); !errors.As(err, &destroyed) {
		t.Errorf("publish list = %v, want a DestroyedError", err)
	}
	if _, ok := w.row("m0000"); ok {
		t.Error("the first part of a refused list was written")
	}
	// What runs is told all the same.
	w.publish(in("gone", claim.Started))
}

func TestPublishOverTheCapIsRefusedAndAListIsSplit(t *testing.T) {
	w := newWorld(t)
	var limit *ledger.LimitError
	if _, err := w.Publish(t.Context(), ins(1001)); !errors.As(err, &limit) {
		t.Errorf("1,001 machines = %v, want a LimitError", err)
	}
	out, err := w.PublishList(t.Context(), ins(2001))
	if err != nil || len(out.Points) != 3 || out.Changed != 2001 {
		t.Errorf("2,001 machines as a list: %d changesets, %d rows, %v", len(out.Points), out.Changed, err)
	}
	var wide []machine.Input
	for _, m := range ins(100) {
		m.Machine.Image = string(slices.Repeat([]byte("x"), 60<<10))
		wide = append(wide, m)
	}
	if out, err = w.PublishList(t.Context(), wide); err != nil || out.Changed != 100 || len(out.Points) < 6 {
		t.Errorf("100 wide rows: %d changesets, %d rows, %v", len(out.Points), out.Changed, err)
	}
}

func TestEpochsComeFromTheRows(t *testing.T) {
	w := newWorld(t)
	w.other("w2", 1, table.Machine{ID: "a", App: "web", State: claim.Moved, Epoch: 3, Grant: 4, MovedTo: "iad/w1"})
	w.publish(in("a", claim.Starting))
	if m, _ := w.row("a"); m.Epoch != 4 {
		t.Errorf("epoch = %d, want that of the grant", m.Epoch)
	}
	w.reclaim("b", 7, "w1")
	w.publish(in("b", claim.Started))
	if m, _ := w.row("b"); m.Epoch != 7 {
		t.Errorf("epoch = %d, want that of the reclaim", m.Epoch)
	}
}

func TestWithdraw(t *testing.T) {
	w := newWorld(t)
	w.peers.missing = true
	w.publish(in("a", claim.Started))
	if unknown := w.withdraw(claim.Withdrawn, "a", "b", "a"); !slices.Equal(unknown, []fleet.MachineID{"b"}) {
		t.Errorf("unknown = %v", unknown)
	}
	if unknown := w.withdraw(claim.Failed, "a"); unknown != nil {
		t.Errorf("withdrawn again: unknown = %v", unknown)
	}
	if m, _ := w.row("a"); m.Why != claim.Withdrawn {
		t.Errorf("why = %v, want the first", m.Why)
	}
	w.withdraw(claim.Destroyed, "a")
	if m, _ := w.row("a"); m.Why != claim.Destroyed {
		t.Errorf("why = %v, want destroyed: nobody undoes that", m.Why)
	}
}

func TestShrinkingListsMustSaySo(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Reconcile(t.Context(), nil, false); err != nil {
		t.Errorf("an empty list that ends nothing: %v", err)
	}
	w.publish(ins(30)...)
	var shrink *ledger.ShrinkError
	for _, tt := range []struct {
		keep    int
		refused bool
	}{{0, true}, {14, true}, {15, false}} {
		_, err := w.Reconcile(t.Context(), ins(tt.keep), false)
		if errors.As(err, &shrink) != tt.refused {
			t.Errorf("a list of %d of 30: %v, want refused %v", tt.keep, err, tt.refused)
		}
	}
	if r, err := w.Reconcile(t.Context(), ins(5), false); err != nil || len(r.Ended) != 10 {
		t.Errorf("10 ends of 15: %d ended, %v; want them free", len(r.Ended), err)
	}
	if r, err := w.Reconcile(t.Context(), nil, true); err != nil || len(r.Ended) != 5 {
		t.Errorf("an empty list with allow_shrink: %d ended, %v", len(r.Ended), err)
	}
}

func TestRefusedListWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.publish(ins(30)...)
	list := []machine.Input{in("new", claim.Started)}
	if _, err := w.Reconcile(t.Context(), list, false); err == nil {
		t.Fatal("a list that ends 30 is taken")
	}
	if _, ok := w.row("new"); ok || len(w.Pending()) > 0 {
		t.Errorf("new is there: %v, pending %v", ok, w.Pending())
	}
}

func TestImpliedEndsWaitUntilCaughtUp(t *testing.T) {
	w := newWorld(t)
	w.publish(ins(3)...)
	w.peers.behind = errors.New("w2 does not answer")
	r, err := w.Reconcile(t.Context(), ins(1), false)
	if err != nil || len(r.Ended) != 0 || !slices.Equal(r.Pending, []fleet.MachineID{"m0001", "m0002"}) {
		t.Fatalf("reconcile = %+v, %v", r, err)
	}
	if m, _ := w.row("m0001"); m.State != claim.Started {
		t.Errorf("m0001 is %v before this node is caught up", m.State)
	}
	w.publish(in("m0002", claim.Started)) // it runs after all
	w.peers.behind = nil
	if err := w.EndPending(t.Context()); err != nil {
		t.Fatal(err)
	}
	one, _ := w.row("m0001")
	two, _ := w.row("m0002")
	if one.State != claim.Ended || two.State != claim.Started || len(w.Pending()) != 0 {
		t.Errorf("m0001 %v, m0002 %v, pending %v; want only m0001 ended", one.State, two.State, w.Pending())
	}
}

func TestReconcileTwiceWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.publish(ins(5)...)
	for range 2 {
		r, err := w.Reconcile(t.Context(), ins(5), false)
		if err != nil || len(r.Written.Points) != 0 || r.Written.Unchanged != 5 {
			t.Errorf("reconcile = %+v, %v; want no changeset", r.Written, err)
		}
	}
}

func TestSettledEndsGo(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(*world)
		after time.Duration
		goes  bool
	}{
		{"an end at epoch 1", func(w *world) {}, 0, true},
		{"not while a known node is missing", func(w *world) { w.peers.missing = true }, 0, false},
		{"not at once with another worker's claim", func(w *world) {
			w.other("w2", 1, table.Machine{ID: "a", App: "web", State: claim.Started, Epoch: 1})
		}, 0, false},
		{"not in a day with another worker's claim", func(w *world) {
			w.other("w2", 1, table.Machine{ID: "a", App: "web", State: claim.Started, Epoch: 1})
		}, 25 * time.Hour, false},
		{"not at once with another worker's end", func(w *world) {
			w.other("w2", 1, table.Machine{ID: "a", App: "web", State: claim.Ended, Epoch: 1})
		}, 0, false},
		{"in a day with another worker's end", func(w *world) {
			w.other("w2", 1, table.Machine{ID: "a", App: "web", State: claim.Ended, Epoch: 1})
		}, 25 * time.Hour, true},
		{"not at once with a reclaim", func(w *world) { w.reclaim("a", 2, "w2") }, 0, false},
		{"in a day with a reclaim", func(w *world) { w.reclaim("a", 2, "w2") }, 25 * time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.publish(in("a", claim.Started), in("b", claim.Started))
			w.withdraw(claim.Withdrawn, "a")
			tt.setup(w)
			w.now = w.now.Add(tt.after)
			w.settle()
			if _, there := w.row("a"); there == tt.goes {
				t.Errorf("the row of a is there: %v, want %v", there, !tt.goes)
			}
			if _, there := w.row("b"); !there {
				t.Error("the row of b, which runs, is gone")
			}
		})
	}
}

func TestEpochAboveOneStaysADay(t *testing.T) {
	w := newWorld(t)
	w.reclaim("a", 5, "w1")
	w.publish(in("a", claim.Started))
	w.withdraw(claim.Withdrawn, "a")
	if w.settle(); !has(w, "a") {
		t.Error("an end at epoch 5 went at once")
	}
	w.now = w.now.Add(25 * time.Hour)
	if w.settle(); has(w, "a") {
		t.Error("an end at epoch 5 is there after a day")
	}
}

func has(w *world, id string) bool {
	_, ok := w.row(id)
	return ok
}

func TestWorkerRowKeepsWhatItIsNotTold(t *testing.T) {
	w := newWorld(t)
	set := func(change func(*table.Worker)) {
		if _, err := w.SetWorker(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
	set(func(r *table.Worker) { r.Locality, r.Gateway = "us-east", "10.0.0.1:7000" })
	set(func(r *table.Worker) { r.State = table.WorkerDraining })
	w.scan(table.Workers, func(r store.Row) {
		got, _ := table.WorkerOf(r)
		if diff := cmp.Diff(table.Worker{Worker: "w1", Locality: "us-east", Gateway: "10.0.0.1:7000", State: table.WorkerDraining}, got); diff != "" {
			t.Errorf("worker (-want +got):\n%s", diff)
		}
	})
}

// What everybody has received is the end of before; the new one waits for its
// own turn.
func TestMachineThatEndedAnewWhileOthersWereAskedStays(t *testing.T) {
	w := newWorld(t)
	w.publish(in("a", claim.Started))
	w.withdraw(claim.Withdrawn, "a")
	w.peers.during = func() {
		w.peers.during = nil
		w.publish(in("a", claim.Started))
		w.withdraw(claim.Failed, "a")
	}
	if removed, _ := w.settle(); removed != 0 || !has(w, "a") {
		t.Errorf("%d rows were removed, a is there: %v", removed, has(w, "a"))
	}
	if removed, _ := w.settle(); removed != 1 {
		t.Errorf("%d rows were removed in the next round, want 1", removed)
	}
}

// overdrawn is a store whose node has written more than its budget.
type overdrawn struct{ store.Store }

func (o overdrawn) Update(ctx context.Context, fn func(store.Tx) error) (store.Commit, error) {
	c, err := o.Store.Update(ctx, fn)
	c.Delayed = time.Second
	return c, err
}

func TestPublishTellsHowLongItWasDelayed(t *testing.T) {
	w := newWorld(t)
	slow, err := ledger.New(ledger.Config{Region: "iad", Worker: "w1", Store: overdrawn{w.store}, Index: w.hub, Peers: w.peers, Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	out, err := slow.SetWorker(t.Context(), func(row *table.Worker) { row.Locality = "us-east" })
	if err != nil || out.Delayed != time.Second {
		t.Errorf("%+v, %v: want a delay of a second", out, err)
	}
}
