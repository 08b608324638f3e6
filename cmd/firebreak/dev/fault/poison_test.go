package fault

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// bug is what a world's nodes do with a poisoned row.
type bug struct {
	broken   bool
	ends     int      // how often iad-2 ends for it
	never    bool     // no end is the last
	released []string // nodes
}

func (w *world) Break() error  { w.bug.broken = true; return nil }
func (w *world) Repair() error { w.bug.broken = false; return nil }

func (w *world) Withheld(_ context.Context, n federation.Node) ([]federation.Held, error) {
	if n.String() != "iad/iad-2" || slices.Contains(w.bug.released, n.String()) {
		return nil, nil
	}
	return []federation.Held{
		{Key: "\"iad-1\", \"poison-1\"", Hash: "abc", Reason: string(store.ReasonCrash)},
		{Key: "\"iad-1\", \"other\"", Hash: "def", Reason: string(store.ReasonConstraint)},
	}, nil
}

func (w *world) Release(_ context.Context, n federation.Node, hash string) error {
	if w.bug.broken || hash != "abc" {
		return errors.New("it would be withheld again")
	}
	w.bug.released = append(w.bug.released, n.String())
	return nil
}

// Shows ends the node, as the row does beside those that are asked for.
func (w *world) Shows(_ context.Context, n federation.Node, _ fleet.MachineID) (bool, error) {
	if w.bug.ends > 0 || w.bug.never {
		w.bug.ends--
		return false, w.fleet.note("crash", n, true)
	}
	return true, nil
}

func TestANodeThatAPoisonedRowEndsIsStartedUntilItWithholdsIt(t *testing.T) {
	w := start(t, spec())
	w.bug.ends = 2
	w.must(t, "poison region iad")
	said := strings.Join(w.said, "\n")
	if !strings.Contains(said, "iad/iad-2 ended 1 times") || !strings.Contains(said, "firebreak withheld release abc --node iad/iad-2") {
		t.Errorf("it said %s", said)
	}
	if !w.bug.broken || len(w.workers.truth.Snapshot()) != 3 || len(w.fleet.Down()) != 0 {
		t.Errorf("broken %v, machines %v, down %v", w.bug.broken, w.workers.truth.Snapshot(), w.fleet.Down())
	}
	w.must(t, "heal")
	if w.bug.broken || !slices.Equal(w.bug.released, []string{"iad/iad-2"}) || len(w.workers.truth.Snapshot()) != 0 {
		t.Errorf("after heal: %+v, machines %v", w.bug, w.workers.truth.Snapshot())
	}
	v := w.Judge(t.Context(), w.faults[0].began)[0]
	if v.Held != 1 || !slices.Equal(v.Touched, []fleet.Region{"iad"}) {
		t.Errorf("verdict %+v", v)
	}
}

func TestACrashLoopIsNamed(t *testing.T) {
	w := start(t, spec())
	w.bug.never = true
	c, err := Parse(strings.Fields("poison region iad"))
	if err == nil {
		err = w.Do(t.Context(), c, func(string) {})
	}
	if err == nil || !strings.Contains(err.Error(), "node iad/iad-2: it ended 4 times: a crash loop") {
		t.Errorf("it said %v", err)
	}
}
