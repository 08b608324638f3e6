package directory_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

var generation = presence.Generation{Number: 1, Bits: 5}

const wall = 1_700_000_000_000

func at(d time.Duration) directory.Instant {
	return directory.Instant{Mono: d, Wall: wall + d.Milliseconds()}
}

func newCore(observe bool) *directory.Core {
	c := directory.New(directory.Config{Fleet: "test", Region: "iad", Observe: observe})
	c.PutGeneration(generation, "1")
	return c
}

func rec(app string, class presence.Class, stamp int64) presence.Record {
	r := presence.Record{
		Region: "iad", App: fleet.App(app), Class: class,
		Rank: presence.Rank{Generation: generation, Stamp: uint64(stamp), Reporter: "iad-1"},
	}
	if class == 0 {
		r.Since = stamp
	}
	return r
}

// rankText orders like the store's ranks, for one reporter.
func rankText(r presence.Record) string {
	return fmt.Sprintf("%020d/%020d", r.Rank.Generation.Number, r.Rank.Stamp)
}

// store puts what a verdict writes, as the node does.
func store(c *directory.Core, v directory.Verdict) {
	for _, r := range v.Write {
		c.Put(r, rankText(r))
	}
}

func fill(c *directory.Core, n int) {
	for i := range n {
		r := rec(fmt.Sprintf("app-%d", i), 1, wall-1)
		c.Put(r, rankText(r))
	}
}

func withdrawals(n int, since int64, stamp int64) (out []presence.Record) {
	for i := range n {
		r := rec(fmt.Sprintf("app-%d", i), 0, stamp)
		r.Since = since
		out = append(out, r)
	}
	return out
}

func TestTheHighestRankStaysWhateverTheOrder(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var rows []presence.Record
		for i := range 30 {
			r := rec(fmt.Sprintf("app-%d", rnd.IntN(5)), presence.Class(rnd.IntN(4)), int64(1+i))
			rows = append(rows, r)
		}
		a, b := newCore(false), newCore(false)
		for _, i := range rnd.Perm(len(rows)) {
			a.Put(rows[i], rankText(rows[i]))
		}
		for _, i := range rnd.Perm(len(rows)) {
			b.Put(rows[i], rankText(rows[i]))
			b.Put(rows[i], rankText(rows[i]))
		}
		present := 0
		for i := range 5 {
			app := fleet.App(fmt.Sprintf("app-%d", i))
			if a.Class(app) != b.Class(app) {
				t.Fatalf("seed %d: %s is of class %d or %d", seed, app, a.Class(app), b.Class(app))
			}
			if a.Class(app) > 0 {
				present++
			}
		}
		if a.Present() != present || b.Present() != present {
			t.Fatalf("seed %d: %d and %d present, want %d", seed, a.Present(), b.Present(), present)
		}
	}
}

// Whoever follows from any place learns each key as it is now, and no key twice
// in one pass, however long it slept.
func TestFollowersFindTheirPlace(t *testing.T) {
	c := newCore(false)
	fast, slow := map[fleet.App]presence.Class{}, map[fleet.App]presence.Class{}
	var fastAt, slowAt uint64
	read := func(into map[fleet.App]presence.Class, from *uint64, limit int) {
		seen := map[fleet.App]bool{}
		for {
			entries := c.After(*from, limit)
			for _, e := range entries {
				*from = e.Seq
				if e.Presence != nil {
					if seen[e.Presence.App] {
						t.Fatalf("%s came twice in one pass", e.Presence.App)
					}
					seen[e.Presence.App] = true
					into[e.Presence.App] = e.Presence.Class
				}
			}
			if len(entries) < limit {
				return
			}
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 5000 {
		r := rec(fmt.Sprintf("app-%d", rnd.IntN(40)), presence.Class(rnd.IntN(5)), int64(1+i))
		c.Put(r, rankText(r))
		read(fast, &fastAt, 3)
		if i%1500 == 0 {
			read(slow, &slowAt, 7)
		}
	}
	read(slow, &slowAt, 7)
	for i := range 40 {
		app := fleet.App(fmt.Sprintf("app-%d", i))
		if fast[app] != c.Class(app) || slow[app] != c.Class(app) {
			t.Errorf("%s: followers have %d and %d, want %d", app, fast[app], slow[app], c.Class(app))
		}
	}
}

func TestHeldWithdrawalsDoNotErodeOverDaysAndNodes(t *testing.T) {
	c := newCore(false)
	fill(c, 200)
	first := int64(wall + 1000)
	for day := range 5 {
		now := at(time.Duration(day)*24*time.Hour + time.Second)
		v := c.Judge(now, "iad-1", withdrawals(200, first, now.Wall))
		store(c, v)
		if c.Present() != 100 || len(c.HeldApps()) != 100 {
			t.Fatalf("day %d: %d present and %d held, want 100 and 100", day, c.Present(), len(c.HeldApps()))
		}
	}
}

// A reporter that took over does not know the first offer; this node does.
func TestAFirstOfferOutlivesItsReporter(t *testing.T) {
	c := newCore(false)
	fill(c, 60)
	store(c, c.Judge(at(0), "iad-1", withdrawals(60, wall, wall)))
	for d := time.Duration(0); d < 26*time.Hour; d += 55 * time.Second { // offered on and on
		c.Tick(at(d))
		now := at(d)
		store(c, c.Judge(now, "iad-1", withdrawals(60, now.Wall, now.Wall))) // with a new first offer each time
	}
	if c.Present() != 30 {
		t.Errorf("%d present a day later, want the 30 that were held", c.Present())
	}
}

func TestAHoldEndsWhenItIsNoLongerOffered(t *testing.T) {
	c := newCore(false)
	fill(c, 100)
	store(c, c.Judge(at(0), "iad-1", withdrawals(100, wall, wall)))
	told, seq := c.Told(), c.Seq()
	c.Tick(at(59 * time.Second))
	if len(c.HeldApps()) != 50 {
		t.Fatalf("%d held after 59 s, want 50", len(c.HeldApps()))
	}
	c.Tick(at(61 * time.Second))
	if len(c.HeldApps()) != 0 || c.Told() == told || len(c.After(seq, 1000)) != 50 {
		t.Errorf("after 61 s %d are held, and %d rows are shown again, want 0 and 50", len(c.HeldApps()), len(c.After(seq, 1000)))
	}
}

func TestReleaseAndDrainLetWithdrawalsThroughUntilTheyEnd(t *testing.T) {
	for kind, name := range map[directory.OverrideKind]string{directory.Release: "release", directory.Drain: "drain"} {
		c := newCore(false)
		fill(c, 100)
		store(c, c.Judge(at(0), "iad-1", withdrawals(100, wall, wall)))
		c.PutOverride(kind, directory.Override{Number: 2, Until: wall + 1000})
		c.PutOverride(kind, directory.Override{Number: 1, Until: wall + 1<<40}) // outranked
		store(c, c.Judge(at(2*time.Second), "iad-1", withdrawals(100, wall, wall)))
		if c.Present() != 50 {
			t.Errorf("%s that ended: %d present, want 50", name, c.Present())
		}
		c.PutOverride(kind, directory.Override{Number: 3, Until: wall + 10_000})
		store(c, c.Judge(at(3*time.Second), "iad-1", withdrawals(100, wall, wall)))
		if c.Present() != 0 || len(c.HeldApps()) != 0 {
			t.Errorf("%s: %d present and %d held, want none", name, c.Present(), len(c.HeldApps()))
		}
	}
}

func TestGrowthIsNeverHeld(t *testing.T) {
	c := newCore(false)
	fill(c, 10)
	var offers []presence.Record
	for i := range 1000 {
		offers = append(offers, rec(fmt.Sprintf("new-%d", i), 1, wall))
	}
	if v := c.Judge(at(0), "iad-1", offers); len(v.Write) != 1000 {
		t.Errorf("%d of 1,000 new apps are taken", len(v.Write))
	}
}

func TestStampsMayBeHalfASecondAheadOrOneAboveTheHighest(t *testing.T) {
	c := newCore(false)
	for stamp, want := range map[int64]bool{wall + 500: true, wall + 501: false} {
		if got := len(c.Judge(at(0), "iad-1", []presence.Record{rec("web", 1, stamp)}).Write) == 1; got != want {
			t.Errorf("stamp %+d ms: taken %v, want %v", stamp-wall, got, want)
		}
	}
	far := rec("far", 1, wall+1_000_000) // from a time when some wall was ahead
	c.Put(far, rankText(far))
	for stamp, want := range map[int64]bool{wall + 1_000_001: true, wall + 1_000_002: false} {
		if got := len(c.Judge(at(0), "iad-1", []presence.Record{rec("web", 1, stamp)}).Write) == 1; got != want {
			t.Errorf("stamp %d: taken %v, want %v", stamp, got, want)
		}
	}
}

func TestConfirmationsAgeFromTheirToken(t *testing.T) {
	c := newCore(false)
	in := directory.Confirmation{Generation: generation, Reporter: "iad-1", Age: 3 * time.Second}
	if err := c.Confirm(at(time.Minute), in); err != nil {
		t.Fatal(err)
	}
	if got := c.Confirmed(at(time.Minute + 7*time.Second)); len(got) != 1 {
		t.Errorf("10 s after the token: confirmed %v, want one", got)
	}
	told := c.Told()
	c.Tick(at(time.Minute + 8*time.Second))
	if got := c.Confirmed(at(time.Minute + 8*time.Second)); len(got) != 0 || c.Told() == told {
		t.Errorf("11 s after the token: confirmed %v, want none, and told", got)
	}
	in.Generation.Bits++
	if c.Confirm(at(time.Minute), in) == nil {
		t.Error("a confirmation of another generation is taken")
	}
	for i := range 100 {
		_ = c.Confirm(at(2*time.Minute), directory.Confirmation{Generation: generation, Reporter: fleet.Worker(fmt.Sprintf("n%d", i))})
	}
	if got := len(c.Confirmations(at(2 * time.Minute))); got > 16 {
		t.Errorf("%d reporters' confirmations are kept", got)
	}
}

func TestANewGenerationConfirmsNothing(t *testing.T) {
	c := newCore(false)
	_ = c.Confirm(at(0), directory.Confirmation{Generation: generation, Reporter: "iad-1"})
	c.PutGeneration(presence.Generation{Number: 2}, "2")
	if got := c.Confirmed(at(0)); len(got) != 0 {
		t.Errorf("confirmed after a new generation: %v", got)
	}
	v := c.Judge(at(0), "iad-1", []presence.Record{rec("web", 1, wall)})
	if len(v.Refused) != 1 || v.Refused[0].Code != directory.BadNode {
		t.Errorf("a report of the old generation: %+v, want refused", v)
	}
}

func TestAlarmsNameTheRegionAndTheCommand(t *testing.T) {
	c := newCore(false)
	fill(c, 100)
	store(c, c.Judge(at(0), "iad-1", withdrawals(100, wall, wall)))
	all := strings.Join(c.Alarms(at(0)), "\n")
	for _, want := range []string{"firebreak region release iad", "50 of 100 apps were withdrawn within 10 minutes"} {
		if !strings.Contains(all, want) {
			t.Errorf("alarms %q do not say %q", all, want)
		}
	}
}
