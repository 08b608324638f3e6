package replicatest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/replicatest"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// rot gives n another row than the one that owner wrote, as a disk does that
// turns bits before anybody sums them.
func rot(t *testing.T, n *replicatest.Node, c store.Commit, owner record.Node) {
	t.Helper()
	r, err := replicatest.Tables()[0].Record(store.Row{record.Of(string(owner)), record.Of("x"), record.Of(666)}, "")
	if err != nil {
		t.Fatal(err)
	}
	d := record.Pushed(record.Changeset{Writer: c.Point.Writer, Version: c.Point.Version, Records: []record.Record{r}})
	if _, err := n.Store.Apply(t.Context(), []record.Delivery{d}); err != nil {
		t.Fatal(err)
	}
}

// rotten starts n nodes, of which the last has rotted a row of the first.
func rotten(t *testing.T, n int) (w *replicatest.World, owner, bad *replicatest.Node) {
	t.Helper()
	w = cluster(replicatest.Config{Seed: 1}, n)
	owner, bad = w.Nodes()[0], w.Nodes()[n-1]
	for _, o := range w.Nodes() {
		w.Cut(o, bad)
	}
	c := owner.PutOwned("x", 1)
	w.Run(time.Second)
	rot(t, bad, c, owner.Name)
	bad.PutOwned("y", 1) // its core hears of both
	return w, owner, bad
}

func TestDamagedRowIsMadeItsOwners(t *testing.T) {
	w, owner, bad := rotten(t, 2)
	w.Heal()
	if !w.RunUntil(5*time.Minute, w.Equal) {
		t.Fatalf("still damaged: %v", bad.Rows())
	}
	if bad.Core.Stats().Repaired == 0 || owner.Core.Stats().Repaired > 0 {
		t.Errorf("repaired %d here and %d at the owner, want it here alone", bad.Core.Stats().Repaired, owner.Core.Stats().Repaired)
	}
	showOwners(t, w)
}

// With the owner gone nobody is the authority, but most of the members are.
func TestDamagedRowIsMadeWhatMostHave(t *testing.T) {
	w, owner, bad := rotten(t, 4)
	owner.Stop()
	w.Heal()
	rest := w.Nodes()[1:]
	same := func() bool { return rest[0].Core.Root() == bad.Core.Root() && rest[1].Core.Root() == bad.Core.Root() }
	if !w.RunUntil(10*time.Minute, same) {
		t.Fatalf("still damaged: %v, others have %v", bad.Rows(), rest[0].Rows())
	}
	if rest[0].Core.Stats().Repaired+rest[1].Core.Stats().Repaired > 0 {
		t.Error("a sound member was repaired from the damaged one")
	}
	showOwners(t, w)
}

// One against one decides nothing: both keep what they have, and say so.
func TestOneAgainstOneIsLeftAndTold(t *testing.T) {
	w, owner, bad := rotten(t, 3)
	owner.Stop()
	w.Heal()
	w.Run(5 * time.Minute)
	other := w.Nodes()[1]
	if other.Core.Root() == bad.Core.Root() || other.Core.Stats().Repaired+bad.Core.Stats().Repaired > 0 {
		t.Error("one member took the word of another for a row of neither")
	}
	if other.Core.Stats().Damaged == 0 || bad.Core.Stats().Damaged == 0 {
		t.Error("the damage is not told")
	}
}

// showOwners wants every running node to show the owner's row.
func showOwners(t *testing.T, w *replicatest.World) {
	t.Helper()
	want := `things ["n00" "x" 1]`
	for _, n := range w.Nodes() {
		if n.Up() && n.Rows()[0] != want {
			t.Errorf("%s shows %v, want %s first", n.Name, n.Rows(), want)
		}
	}
}

// What is written between the comparison and the snapshot that a listing is
// read from is in neither or in both, and stays.
func TestVersionsThatArriveBeforeTheListingStay(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond} {
		w, owner, bad := rotten(t, 2)
		w.Heal()
		w.Run(20 * time.Second)
		wants := w.Sent["want"].Frames
		if !w.RunUntil(5*time.Minute, func() bool { return w.Sent["want"].Frames > wants }) {
			t.Fatal("the damage is never looked into")
		}
		w.Run(after)
		owner.PutOwned("x", 2)
		owner.PutOwned("z", 3)
		bad.PutOwned("y", 4)
		if !w.RunUntil(5*time.Minute, w.Equal) {
			t.Fatalf("written %v after a listing was asked for: never equal", after)
		}
		for _, n := range w.Nodes() {
			got := n.Rows()
			if want := []string{`things ["n00" "x" 2]`, `things ["n00" "z" 3]`, `things ["n01" "y" 4]`}; !slices.Equal(got, want) {
				t.Errorf("written %v after a listing was asked for: %s shows %v", after, n.Name, got)
			}
		}
	}
}
