// Package directory is what a global node knows of one region, and how it
// judges what comes from there: which report wins, which is refused, which
// withdrawal the brake holds, which reporters are confirmed.
//
// There is one Core per region, so that nothing one region says can change
// what is answered about another. Rows enter a Core only through Put, after
// they were stored: what a report would change is a Verdict, which the caller
// writes. Rows never leave; they are outranked.
//
// Readers follow the core by sequence: After returns the keys that changed
// since, each once and as it is now. So a slow reader costs nothing and never
// loses its place. A Core does no I/O and reads no clock.
package directory

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

// The times and bounds of a directory.
const (
	ConfirmedFor = 10 * time.Second // a reporter counts as confirmed this long after a token was sent
	Drift        = 500              // milliseconds that a stamp may be ahead of this node's wall
	heldFor      = time.Minute      // a held withdrawal that is not offered again is forgotten
	maxReporters = 16               // whose confirmations are kept
	maxHeld      = 1 << 17          // held withdrawals remembered
)

// Instant is a moment: Mono rises steadily, Wall is Unix milliseconds and may
// jump.
type Instant struct {
	Mono time.Duration
	Wall int64
}

// Config of a Core.
type Config struct {
	Fleet   string
	Region  fleet.Region
	Observe bool // the brake shows what it would hold, and lets it through
}

// Core is one region's directory. Not safe for concurrent use.
type Core struct {
	cfg    Config
	hasher *presence.Hasher

	rows       map[fleet.App]*row
	present    int
	record     subject[presence.Region]
	generation subject[presence.Generation]
	overrides  [2]Override // by kind
	maxStamp   uint64      // of the region's generation
	seq        uint64
	log        []step // by seq; a key's earlier steps are stale

	confirmations []confirmation // by reporter
	confirmed     []fleet.Worker // as last told
	held          map[fleet.App]*hold
	told          uint64 // rises when confirmed or held change
	wouldHold     int    // withdrawals that the observing brake let through
}

type row struct {
	presence.Record
	rank string
	seq  uint64
}

type subject[T any] struct {
	value T
	rank  string
	seq   uint64 // zero: none
}

// step is one entry of the log: a key and when it changed.
type step struct {
	seq  uint64
	kind kind
	app  fleet.App
}

type kind uint8

const (
	ofPresence kind = iota
	ofRecord
	ofGeneration
)

// Entry is one record of the directory as it is now.
type Entry struct {
	Seq        uint64
	Presence   *presence.Record // one of the three is set
	Region     *presence.Region
	Generation *presence.Generation
	Rank       string // bytes; the higher wins
	Held       bool   // presence: its withdrawal is held
}

// New returns the directory of a region of which nothing is known.
func New(cfg Config) *Core {
	return &Core{
		cfg: cfg, hasher: presence.NewHasher(cfg.Fleet, cfg.Region),
		rows: map[fleet.App]*row{}, held: map[fleet.App]*hold{},
	}
}

// Put takes a stored presence row. A lower or equal rank changes nothing.
func (c *Core) Put(r presence.Record, rank string) {
	have := c.rows[r.App]
	if r.Region != c.cfg.Region || have != nil && rank <= have.rank {
		return
	}
	if have == nil {
		have = &row{}
		c.rows[r.App] = have
	} else if have.Class > 0 {
		c.present--
	}
	have.Record, have.rank = r, rank
	if r.Class > 0 {
		c.present++
	}
	c.unhold(r.App)
	c.note(r.Rank)
	have.seq = c.append(ofPresence, r.App)
}

// PutRegion takes the stored row of what the region says of itself.
func (c *Core) PutRegion(r presence.Region, rank string) {
	if r.Name != c.cfg.Region || c.record.seq > 0 && rank <= c.record.rank {
		return
	}
	c.note(r.Rank)
	c.record = subject[presence.Region]{r, rank, c.append(ofRecord, "")}
}

// PutGeneration takes the region's row in the list of regions.
func (c *Core) PutGeneration(g presence.Generation, rank string) {
	if c.generation.seq > 0 && rank <= c.generation.rank {
		return
	}
	if c.generation.seq > 0 && c.generation.value != g {
		c.confirmations = nil
	}
	c.generation = subject[presence.Generation]{g, rank, c.append(ofGeneration, "")}
	c.maxStamp = 0
	c.note(c.record.value.Rank)
	for _, s := range c.log {
		if s.kind == ofPresence && !c.stale(s) {
			c.note(c.rows[s.app].Rank)
		}
	}
	c.retell()
}

func (c *Core) note(r presence.Rank) {
	if c.generation.seq > 0 && r.Generation == c.generation.value {
		c.maxStamp = max(c.maxStamp, r.Stamp)
	}
}

func (c *Core) append(k kind, app fleet.App) uint64 {
	c.seq++
	if len(c.log) > 2*len(c.rows)+64 {
		c.log = slices.DeleteFunc(c.log, c.stale)
	}
	c.log = append(c.log, step{c.seq, k, app})
	return c.seq
}

func (c *Core) stale(s step) bool {
	switch s.kind {
	case ofRecord:
		return c.record.seq != s.seq
	case ofGeneration:
		return c.generation.seq != s.seq
	}
	r := c.rows[s.app]
	return r == nil || r.seq != s.seq
}

// Generation returns the region's generation, and whether the region is known.
func (c *Core) Generation() (presence.Generation, bool) {
	return c.generation.value, c.generation.seq > 0
}

// Region returns what the region says of itself.
func (c *Core) Region() (presence.Region, bool) { return c.record.value, c.record.seq > 0 }

// Class returns an app's class here.
func (c *Core) Class(app fleet.App) presence.Class {
	if r := c.rows[app]; r != nil {
		return r.Class
	}
	return 0
}

// Present counts the apps with a class above 0.
func (c *Core) Present() int { return c.present }

// Rows counts the presence rows, withdrawn ones included.
func (c *Core) Rows() int { return len(c.rows) }

// Seq is the sequence of the last change.
func (c *Core) Seq() uint64 { return c.seq }

// After returns up to limit records that changed after seq, in the order of
// their last changes. The Seq of the last one is where to go on.
func (c *Core) After(seq uint64, limit int) []Entry {
	i, _ := slices.BinarySearchFunc(c.log, seq, func(s step, seq uint64) int {
		if s.seq <= seq {
			return -1
		}
		return 1
	})
	var out []Entry
	for _, s := range c.log[i:] {
		if len(out) >= limit {
			break
		}
		if !c.stale(s) {
			out = append(out, c.entry(s))
		}
	}
	return out
}

func (c *Core) entry(s step) Entry {
	switch s.kind {
	case ofRecord:
		v := c.record.value
		return Entry{Seq: s.seq, Region: &v, Rank: c.record.rank}
	case ofGeneration:
		v := c.generation.value
		return Entry{Seq: s.seq, Generation: &v, Rank: c.generation.rank}
	}
	r := c.rows[s.app]
	v := r.Record
	return Entry{Seq: s.seq, Presence: &v, Rank: r.rank, Held: c.held[s.app] != nil}
}
