package fedsim

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/sim"
)

// make sim runs thousands; here are enough to notice a broken core.
func TestSeedsHoldEveryProperty(t *testing.T) {
	p := Plan{Options: Options{Seed: 1, Closing: true, Later: true, Path: true}, Seeds: 60}
	if testing.Short() {
		p.Seeds = 15
	}
	sum := Execute(p)
	if sum.Failed != nil {
		t.Fatal(sum.Failed)
	}
	for _, prop := range Properties() {
		if sum.Checks[prop.ID] == 0 {
			t.Errorf("%s was never asked", prop.ID)
		}
	}
	t.Log(sum)
}

// The databases that ship hold all properties too, crashes and old disks and
// all. Once: their own goroutines may change the course.
func TestSeedsHoldOnRealDatabases(t *testing.T) {
	p := Plan{Options: Options{Seed: 1, Closing: true, Later: true, Path: true, SQLite: true}, Seeds: 2, Once: true}
	if testing.Short() {
		p.Seeds, p.Actions = 1, 20
	}
	if sum := Execute(p); sum.Failed != nil {
		t.Fatal(sum.Failed)
	}
}

// Seeds that once broke something with closings, collection and listings on.
func TestFoundSeeds(t *testing.T) {
	for seed, found := range map[uint64]string{
		1112: "a push that waited for a full disk came after a listing, and the row that it brought had been deleted",
		1132: "a closing dropped a row that waited for a peer's full disk, and was nowhere else: its node's disk had been put back",
		1856: "a row of a start with too low a boot went the other way than the model has it, everywhere",
		8160: "an eviction dropped a closing that was in effect elsewhere: nobody else could learn of it, and the node never closed again",
		8244: "the only node that had a row was evicted, and its writer closed without waiting for it: a known limit",
		7355: "an image came back after its node, on an empty disk, had closed what it holds: a known limit",
		8600: "what an image alone had, and its node's closing counted as received, went back to what stood elsewhere: a known limit",
		829:  "a range left out what an eviction had dropped, and the eviction came later: the model took that for a loss",
	} {
		if r := Run(Options{Seed: seed, Closing: true}); r.Err != nil {
			t.Errorf("seed %d (%s): %v", seed, found, r.Err)
		}
	}
}

// Two disks were lost while the only other node was down: the closing knew
// nothing of it, which is a known limit, and the model took it for a loss.
func TestAClosingThatKnewTooFew(t *testing.T) {
	o := Options{Seed: 202048, Regions: 1, Globals: -1, Actions: 40, Spread: 12 * time.Second, Closing: true, Later: true}
	if err := Run(o).Err; err != nil {
		t.Error(err)
	}
}

// In these a node took a listing by one who had forgotten a writer, so it dropped
// a tombstone, and then answered an older want with a range as if nothing were
// missing.
func TestAnswersAfterAListingByOneWhoForgot(t *testing.T) {
	for _, o := range []Options{{Seed: 102407}, {Seed: 102956}, {Seed: 203612, Actions: 40, Spread: 12 * time.Second}} {
		o.Regions, o.Globals, o.Closing, o.Later, o.Path = 1, -1, true, true, true
		if err := Run(o).Err; err != nil {
			t.Errorf("seed %d: %v", o.Seed, err)
		}
	}
}

// Scripts that once broke something, each as small as it still did. Their first
// line names the seed; what was found is said below it.
func TestFoundScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			o := Options{Closing: true}
			if _, err := fmt.Sscanf(string(text), "# seed %d", &o.Seed); err != nil {
				t.Fatalf("no seed in the first line: %v", err)
			}
			if o.Script, err = sim.ParseScript(string(text)); err != nil {
				t.Fatal(err)
			}
			if err := Run(o).Err; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEqualSeedsGiveEqualTracesOnAnyNumberOfProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	traces := map[sim.Trace]bool{}
	for seed := range uint64(4) {
		runtime.GOMAXPROCS(1)
		one := Run(Options{Seed: seed, Closing: true})
		runtime.GOMAXPROCS(2)
		if two := Run(Options{Seed: seed, Closing: true}); one.Trace != two.Trace || one.Events != two.Events {
			t.Errorf("seed %d: traces %016x and %016x", seed, one.Trace, two.Trace)
		}
		traces[one.Trace] = true
	}
	if len(traces) < 4 {
		t.Error("seeds share a trace: it holds nothing")
	}
}

// A script without some of its actions performs the others as before: that is
// what makes it possible to minimise one.
func TestAScriptIsPerformedAsItIs(t *testing.T) {
	whole := Run(Options{Seed: 3})
	again := Run(Options{Seed: 3, Script: whole.Script})
	if again.Trace != whole.Trace {
		t.Error("the script of a seed, given, takes another course than the seed")
	}
	if none := Run(Options{Seed: 3, Script: sim.Script{}}); none.Err != nil || none.Events >= whole.Events {
		t.Errorf("an empty script: %d events, %v", none.Events, none.Err)
	}
}

// What a lane goes through leaves no trace in another.
func TestLanesShareNothing(t *testing.T) {
	traces := func(noise int) map[string]sim.Trace {
		o := Options{Seed: 5, Spread: 5 * time.Second}.withDefaults()
		f, err := newFederation(o)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		for i := range 200 {
			at := time.Duration(i) * 20 * time.Millisecond // even: lane r0
			f.script = append(f.script, sim.Action{At: at + 1, Kind: putOwned, Who: "g1", With: "x", N: i})
			if i < noise {
				f.script = append(f.script, sim.Action{At: at, Kind: putBurst, Who: "g0", With: "x", N: i<<8 | 100})
			}
		}
		if err := f.play(); err != nil {
			t.Fatal(err)
		}
		out := map[string]sim.Trace{}
		_ = f.each(func(r *replica) error {
			out[r.id()] = r.trace
			return nil
		})
		return out
	}
	quiet, loud := traces(0), traces(60)
	for who, trace := range quiet {
		if own := who == "g0/r0" || who == "g1/r0"; own == (loud[who] == trace) {
			t.Errorf("%s: the same course is %v, with noise in lane r0 and without", who, !own)
		}
	}
}
