package federation

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

func TestAKilledProcessIsStartedAgainAndCounted(t *testing.T) {
	f := open(t, script(t, "exec sleep 60"))
	nodes, stop := context.WithCancel(t.Context())
	l, err := f.launcher(nodes)
	if err != nil {
		t.Fatal(err)
	}
	defer f.wait()
	defer stop()
	n := f.Plan().Of(Region)[0]
	if err := f.startNode(nodes, nodes, l, n); err != nil {
		t.Fatal(err)
	}
	go f.startWanted(nodes, l)
	first := f.runOf(n)
	if err := f.Kill(t.Context(), n); err != nil || !strings.Contains(first.err.Error(), "killed") {
		t.Fatalf("killed: %v, it ended with %v", err, first.err)
	}
	if down := f.Down(); !slices.Equal(down, []Node{n}) || f.Ends(n) != 1 {
		t.Errorf("down %v, ended %d times", down, f.Ends(n))
	}
	if err := f.Kill(t.Context(), n); err != nil {
		t.Errorf("a second kill: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.Start(ctx, n); err != nil {
		t.Fatal(err)
	}
	second := f.runOf(n)
	if second.pid == first.pid || len(f.started()) != 1 || len(f.Down()) != 0 || f.Ends(n) != 1 {
		t.Errorf("pid %d after %d, %d runs, down %v, ended %d times", second.pid, first.pid, len(f.started()), f.Down(), f.Ends(n))
	}
	if _, err := os.Stat(filepath.Join(f.paths.dir, "dev.json")); err != nil {
		t.Errorf("dev.json was not written again: %v", err)
	}
}

// Whoever asked a node to end may have gone before it did.
func TestANodeThatIsAboutToEndIsStartedAgainAfterItsEnd(t *testing.T) {
	f := open(t, script(t, "trap 'sleep 0.2; exit 0' TERM; echo ready >&2; while :; do sleep 0.02; done"))
	nodes, stop := context.WithCancel(t.Context())
	l, err := f.launcher(nodes)
	if err != nil {
		t.Fatal(err)
	}
	defer f.wait()
	defer stop()
	n := f.Plan().Of(Region)[0]
	if err := f.startNode(nodes, nodes, l, n); err != nil {
		t.Fatal(err)
	}
	go f.startWanted(nodes, l)
	gone, leave := context.WithCancel(t.Context())
	leave()
	first := f.runOf(n)
	if err := f.Stop(gone, n); err == nil || !slices.Equal(f.Down(), []Node{n}) {
		t.Fatalf("stopped: %v, down %v", err, f.Down())
	}
	if err := f.Start(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if !first.isOver() || f.runOf(n) == first || len(f.Down()) != 0 {
		t.Errorf("the first is over: %v; down %v", first.isOver(), f.Down())
	}
}

func TestAFlatFederationHasTheSameWorkersInOneRegion(t *testing.T) {
	s := spec()
	p, flat := plan(t, s), plan(t, s.Flat())
	var want, got []fleet.Worker
	for _, at := range p.Places() {
		want = append(want, at.Worker)
	}
	for _, at := range flat.Places() {
		got = append(got, at.Worker)
		if at.Region != FlatRegion {
			t.Errorf("%v is not in the one region", at)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("workers (-two levels +flat):\n%s", diff)
	}
	if n := flat.At("ams"); len(n) != 3 || n[0].Name != "ams-1" || len(p.At("ams")) != 3 {
		t.Errorf("at ams: %v", n)
	}
	if err := s.Flat().Check(); err != nil {
		t.Error(err)
	}
}
