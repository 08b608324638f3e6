// Package regionbench measures a region's node: how many of its presence
// reports were needed (B22), how long after a commit a watch shows it (B16),
// what many watches cost (B17), and what clients of /v1 see of both (B27).
package regionbench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/region/report"
)

// Benches returns the package's.
func Benches() []bench.Bench {
	return []bench.Bench{
		{Name: "B16", Title: "watch-latency", Set: bench.Quick, Quick: 40 * time.Second, Long: 90 * time.Second, Run: watchLatency,
			About: "One node, 1 and 1,000 watches, idle and under 1,000 rows a second: from when a write was due to its event at most 2 ms at p50 and 20 ms at p99."},
		{Name: "B17", Title: "watch-fanout", Set: bench.Full, Long: 40 * time.Second, Run: watchFanout,
			About: "Changes of watched rows on a node with 10 and with 10,000 watches by key and one client that never reads: at most 2 × the CPU per change, and as fast."},
		{Name: "B27-http", Title: "transactions over HTTP", Set: bench.Full, Run: transactions,
			About: "One node on tmpfs without fsync, 16 clients of /v1 that each write one row at a time: at least 5,000 transactions a second."},
		{Name: "B27-events", Title: "subscriptions over HTTP", Set: bench.Full, Run: subscriptions,
			About: "Three nodes, 20 and 100 updates a second: p50 to the event of a subscription at most 3 ms on the node that wrote and 10 ms on another."},
		{Name: "B22", Title: "presence-churn", Set: bench.Quick, Quick: 4 * time.Second, Long: 8 * time.Second, Run: churn,
			About: "A region's reporter through half an hour of deploys: at most 1.05 × the writes of the transitions that outlive the hold, and additions at once."},
	}
}

const (
	churnApps = 500
	churnFor  = 30 * time.Minute
	stepTime  = 250 * time.Millisecond
)

// churned is a region with one gateway and one global node that takes what it
// is sent, in virtual time.
type churned struct {
	core   *report.Core
	rand   *rand.Rand
	mono   time.Duration
	counts []int
	goals  []plan

	held   map[fleet.App]presence.Class // as global has it
	writes int
	late   int // additions that were not sent in the step in which they came

	floor ideal
}

// plan is how an app's count goes on, a value per step.
type plan []int

func appOf(i int) fleet.App { return fleet.App(fmt.Sprintf("app-%03d", i)) }

const reporterName = fleet.Worker("gw-1")

func churn(ctx context.Context, b *bench.Bencher) error {
	c := &churned{
		core: report.New(report.Config{Fleet: "bench", Region: "iad", Node: reporterName, Boot: 1, Generation: presence.Generation{Number: 1, Bits: 7}, Globals: 1}),
		rand: rand.New(rand.NewPCG(b.Seed(), 22)), counts: make([]int, churnApps), goals: make([]plan, churnApps), held: map[fleet.App]presence.Class{},
		floor: ideal{held: make([]presence.Class, churnApps), want: make([]presence.Class, churnApps), since: make([]time.Duration, churnApps)},
	}
	for i := range c.counts {
		c.counts[i] = 1 + c.rand.IntN(40)*c.rand.IntN(2)
	}
	c.begin()
	for c.mono < churnFor {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.step()
	}
	b.Note("%d apps, seed %d, one reporter: %d writes, and %d transitions outlived the hold", churnApps, b.Seed(), c.writes, c.floor.writes)
	b.Count("presence writes per transition that outlives the hold", "×", float64(c.writes)/float64(c.floor.writes), result.AtMost(1.05))
	b.Count("additions that were not sent at once", "", float64(c.late), result.AtMost(0))
	return nil
}

func (c *churned) now() report.Instant {
	return report.Instant{Mono: c.mono, Wall: 1_700_000_000_000 + c.mono.Milliseconds()}
}

// begin connects the gateway with the global node, which knows nothing.
func (c *churned) begin() {
	c.core.Step(c.now(), report.Members{
		Fit: true, Candidates: []fleet.Worker{reporterName}, Locality: "us", Gateways: []presence.Gateway{{Node: reporterName, Address: "192.0.2.1:1"}},
	})
	c.core.Step(c.now(), report.Connected{Global: 0, Up: true})
	c.core.Step(c.now(), report.Own{Global: 0, Full: true, Last: true, Confirmed: []fleet.Worker{reporterName}})
}

// step is a quarter of a second: counts move, the reporter is told, and what
// it sends is taken.
func (c *churned) step() {
	c.mono += stepTime
	if c.mono%(20*time.Second) == 0 {
		c.storm()
	}
	var counts report.Counts
	for i := range c.counts {
		if len(c.goals[i]) > 0 {
			c.counts[i], c.goals[i] = c.goals[i][0], c.goals[i][1:]
		} else if c.rand.IntN(4000) == 0 { // somebody scales by hand
			c.counts[i] = c.rand.IntN(40) * c.rand.IntN(2)
		}
		if c.counts[i] > 0 {
			counts = append(counts, report.Count{App: appOf(i), N: c.counts[i]})
		}
	}
	added := c.floor.step(c.mono, c.counts)
	c.core.Step(c.now(), counts)
	if c.mono%(2*time.Second) == 0 {
		c.core.Step(c.now(), report.Token{Global: 0, Token: uint64(c.mono)})
	}
	for _, m := range c.core.Ready() {
		c.take(m)
	}
	for _, i := range added {
		if c.held[appOf(i)] == 0 {
			c.late++
		}
	}
}

// storm has a fifth of the apps deploy: new machines beside the old ones, then
// without those; or all stop, and start again a little later.
func (c *churned) storm() {
	for i := range c.counts {
		if c.counts[i] == 0 || c.rand.IntN(5) > 0 {
			continue
		}
		n := c.counts[i]
		var p plan
		for range 1 + c.rand.IntN(16) {
			if i%2 == 0 {
				p = append(p, n+c.rand.IntN(n+1))
			} else {
				p = append(p, 0)
			}
		}
		c.goals[i] = append(p, n)
	}
}

// take is the global node: everything is stored, shown, and confirmed.
func (c *churned) take(m report.Message) {
	own := report.Own{Global: 0, Last: true, Confirmed: []fleet.Worker{reporterName}, Presence: m.Presence, Region: m.Region}
	if m.Confirmation != nil {
		c.core.Step(c.now(), own)
		return
	}
	for _, r := range m.Presence {
		c.held[r.App] = r.Class
	}
	c.writes += len(m.Presence)
	c.core.Step(c.now(), own)
	c.core.Step(c.now(), report.Accepted{Global: 0, N: max(1, len(m.Presence))})
}

// ideal counts the writes that nobody could do without: none to some at once,
// any other class once it has stood for the hold.
type ideal struct {
	held, want []presence.Class
	since      []time.Duration
	writes     int
}

// step takes the counts of a moment and returns the apps that were added.
func (d *ideal) step(now time.Duration, counts []int) (added []int) {
	for i, n := range counts {
		if w := presence.ClassOf(n); w != d.want[i] {
			d.want[i], d.since[i] = w, now
		}
		switch {
		case d.want[i] == d.held[i]:
			continue
		case d.held[i] == 0:
			added = append(added, i)
		case now-d.since[i] < report.Hold:
			continue
		}
		d.held[i] = d.want[i]
		d.writes++
	}
	return added
}
