package runner_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/store"
)

func TestPushReachesEveryPeerAtOnceAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		a, b, c := h.join(t, "a", nil, nil), h.join(t, "b", nil, nil), h.join(t, "c", nil, nil)
		time.Sleep(3 * time.Second)
		began := time.Now()
		commit := a.put(t, 7, "x")
		for _, n := range []*node{a, b, c} {
			if err := n.WaitPoint(within(t, time.Second), commit.Point); err != nil {
				t.Fatalf("%s: %v", n.name, err)
			}
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("it took %v on a network without delay", d)
		}
		time.Sleep(10 * time.Second)
		if got := b.value(t, "a", "x"); !got.Equal(record.Of(7)) {
			t.Errorf("b has %v", got)
		}
		for _, n := range []*node{b, c} {
			if s := n.Stats(); s.Arrived != 1 || s.Taken != 1 {
				t.Errorf("%s: %d deliveries arrived, %d new; want 1 and 1", n.name, s.Arrived, s.Taken)
			}
		}
		if a.Root() != b.Root() || b.Root() != c.Root() || a.Root() == [16]byte{} {
			t.Errorf("roots %x %x %x", a.Root(), b.Root(), c.Root())
		}
	})
}

func TestFullPushQueueHealsBySync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.full = func(from, to record.Node, class mesh.Class) bool { return class == mesh.Push && to == "b" }
		a, b := h.join(t, "a", nil, nil), h.join(t, "b", nil, nil)
		synctest.Wait()
		var last record.Point
		for i := range 300 {
			last = a.put(t, i, fmt.Sprint("x", i%7)).Point
		}
		began := time.Now()
		if err := b.WaitSets(within(t, time.Minute), a.Received()); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitPoint(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("healed after %v", d)
		}
		if s := a.Stats(); s.PushDropped == 0 || s.Owed == 0 {
			t.Errorf("dropped %d, owed %d: nothing was refused", s.PushDropped, s.Owed)
		}
		if a.Root() != b.Root() {
			t.Error("roots differ")
		}
	})
}

func TestLostFramesHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		// At random: every third frame, strictly, can be the same step of each
		// exchange for ever.
		rng := rand.New(rand.NewPCG(1, 2))
		h.cut = func(from, to record.Node, class mesh.Class) bool { return rng.IntN(3) == 0 }
		nodes := []*node{h.join(t, "a", nil, nil), h.join(t, "b", nil, nil), h.join(t, "c", nil, nil)}
		for i := range 100 {
			nodes[i%3].put(t, i, fmt.Sprint("x", i%7))
			time.Sleep(10 * time.Millisecond)
		}
		for _, from := range nodes {
			sets := from.Received()
			for _, n := range nodes {
				// An exchange of six frames comes through one time in eleven, so a
				// peer that fell silent must not be left alone for long at first.
				if err := n.WaitSets(within(t, time.Minute), sets); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestFrozenNodeSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		var frozen atomic.Bool
		frozen.Store(true)
		a := h.join(t, "a", nil, func(c *runner.Config) { c.Freeze = frozen.Load })
		b := h.join(t, "b", nil, nil)
		point := a.put(t, 7, "x").Point
		time.Sleep(5 * time.Second)
		if s := a.Stats(); s.Sent[0].Frames+s.Sent[1].Frames != 0 {
			t.Errorf("sent %+v", s.Sent)
		}
		if r := b.Survey(within(t, time.Second), []record.Node{"a"}); r[0].Err == nil {
			t.Error("a frozen node answered a survey")
		}
		frozen.Store(false)
		if err := b.WaitPoint(within(t, 5*time.Second), point); err != nil {
			t.Errorf("after the thaw: %v", err)
		}
	})
}

func TestSurveyTellsWhatPeersHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		fit := func(c *runner.Config) { c.Fit = func() bool { return true } }
		a, b, c := h.join(t, "a", nil, nil), h.join(t, "b", nil, fit), h.join(t, "c", nil, nil)
		a.put(t, 1, "x", "y")
		b.put(t, 1, "x")
		time.Sleep(5 * time.Second)
		h.mu.Lock()
		h.cut = func(from, to record.Node, class mesh.Class) bool { return to == "c" }
		h.mu.Unlock()
		b.put(t, 2, "x")
		synctest.Wait()
		for i, r := range a.Survey(within(t, time.Second), []record.Node{"b", "c", "gone"}) {
			if i == 2 {
				if r.Err == nil {
					t.Error("a peer that is not there answered")
				}
				continue
			}
			n := []*node{b, c}[i]
			w := n.store.Writer()
			if r.Err != nil || r.Node != n.name || r.Boot != w.Boot || r.Bits != w.Bits || r.Fit != (i == 0) {
				t.Errorf("report %+v", r)
			}
			if diff := cmp.Diff(n.Received(), r.Sets); diff != "" {
				t.Errorf("%s (-has +told):\n%s", n.name, diff)
			}
		}
	})
}

func TestOwnTailOfAHigherBootIsOutrankedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		b := h.join(t, "b", nil, nil)
		a := h.join(t, "a", nil, nil)
		a.put(t, 1, "x", "y")
		a.stop()
		image := a.disk.Copy()
		time.Sleep(time.Hour)
		a = h.join(t, "a", a.disk, nil)
		later := a.put(t, 2, "x", "y").Point
		if err := b.WaitPoint(within(t, time.Minute), later); err != nil {
			t.Fatal(err)
		}
		a.stop()
		h.mu.Lock()
		h.cut = func(from, to record.Node, class mesh.Class) bool { return true }
		h.mu.Unlock()
		back := h.joinAt(t, "a", image, -2*time.Hour) // the old image, and a clock that went back
		back.put(t, 3, "x")
		if w := back.store.Writer(); w.Boot >= later.Writer.Boot {
			t.Fatalf("the put-back image starts as %v, above %v: the test shows nothing", w, later.Writer)
		}
		h.mu.Lock()
		h.cut = nil
		h.mu.Unlock()
		if err := back.WaitPoint(within(t, time.Minute), later); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		for _, n := range []*node{back, b} {
			if x, y := n.value(t, "a", "x"), n.value(t, "a", "y"); !x.Equal(record.Of(3)) || !y.Equal(record.Of(2)) {
				t.Errorf("%s has %v, %v; want what this start wrote, and what the unknown start wrote", n.name, x, y)
			}
		}
		w := back.store.Writer()
		if w.Boot <= later.Writer.Boot || back.writer != w || back.ownTail == 0 {
			t.Errorf("writer %v (mesh was told %v) against %v; own tail told %d times", w, back.writer, later.Writer, back.ownTail)
		}
		if b.Root() != back.Root() {
			t.Error("roots differ")
		}
	})
}

func TestRealStoresBecomeEqual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.sqlite = true
		n := 0
		h.cut = func(from, to record.Node, class mesh.Class) bool { n++; return n%5 == 0 }
		nodes := []*node{h.join(t, "a", nil, nil), h.join(t, "b", nil, nil), h.join(t, "c", nil, nil)}
		for i := range 60 {
			from := nodes[i%3]
			from.put(t, i, fmt.Sprint("x", i%7))
			from.write(t, func(tx store.Tx) error {
				return tx.Put(replicatest.Shared, store.Row{record.Of(fmt.Sprint("s", i%4)), record.Of(i)})
			})
			from.write(t, func(tx store.Tx) error {
				return tx.Put(replicatest.Ranked, store.Row{record.Of(fmt.Sprint("r", i%4)), record.Of(i), record.Of(i)})
			})
			time.Sleep(10 * time.Millisecond)
		}
		for _, from := range nodes {
			sets := from.Received()
			for _, n := range nodes {
				if err := n.WaitSets(within(t, time.Minute), sets); err != nil {
					t.Fatal(err)
				}
			}
		}
		synctest.Wait()
		for _, n := range nodes {
			snap, err := n.store.Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ws, err := snap.Writers()
			if err != nil {
				t.Fatal(err)
			}
			if err := snap.Close(); err != nil {
				t.Fatal(err)
			}
			if want := [16]byte(replica.RootOf(runner.States(ws)).Append(nil)); n.Root() != want || n.Root() != nodes[0].Root() {
				t.Errorf("%s: root %x, of its store %x, of a %x", n.name, n.Root(), want, nodes[0].Root())
			}
		}
	})
}

// Changesets too large for a frame of their flow travel alone, and still in
// their turn.
func TestLargeChangesetsHealBySync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.cut = func(from, to record.Node, class mesh.Class) bool { return class == mesh.Push }
		a, b := h.join(t, "a", nil, nil), h.join(t, "b", nil, nil)
		synctest.Wait()
		for i := range 6 {
			a.put(t, i, "small")
			a.write(t, func(tx store.Tx) error {
				for row := range 900 {
					key := record.Of(fmt.Sprintf("%d-%03d-%0200d", i, row, 0))
					if err := tx.Put(replicatest.Owned, store.Row{record.Of("a"), key, record.Of(i)}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		last := a.put(t, 9, "small").Point
		if err := b.WaitSets(within(t, time.Minute), a.Received()); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitPoint(within(t, time.Second), last); err != nil || a.Root() != b.Root() {
			t.Errorf("%v, roots %x and %x", err, a.Root(), b.Root())
		}
		if s := b.Stats(); s.Malformed+s.Unasked > 0 {
			t.Errorf("%+v", s)
		}
	})
}
