// Package replica decides how records spread through a cluster. A Core is one
// node's side of it, or one lane's: a pure value that is told what happened
// and when (Step, Tick) and says what to do (Ready). It has no goroutine,
// clock, randomness or I/O; package runner drives it with a store and a mesh.
//
// Push: what this node commits goes once to every connected peer, at once. A
// push that finds a full queue is dropped, and the peer is owed a sync.
// Pushing never waits for a receiver, and a receiver that is behind leaves a
// gap.
//
// Sync: every 500 ms or so a node sends its root, 16 bytes over all that it
// has received, to a random peer, which answers only if it has not had that
// root itself within the last second. Then both compare their leaves, one per
// node; what stayed different for 300 ms is looked up in the received sets;
// what stayed missing for 200 ms is asked for. So every loss heals, a cluster
// at rest sends 16 bytes per exchange, and what is merely on its way is not
// sent twice.
//
// What the core keeps true: a version counts as received only once the store
// says that it is durably applied; a changeset is taken from a push only if
// the peer is its writer's node, and from an answer only if it was asked for;
// what a peer claims takes memory only for as long as it is being asked, and
// every queue has a cap.
package replica

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Config of a core. The zero value of a limit means its default.
type Config struct {
	Seed  uint64 // of the choice of peers and of jitter
	Queue int    // bytes of deliveries that wait for the store; zero means 16 MiB
	Share int    // bytes of them that the pushes of one node may take; zero means 2 MiB
	Want  int    // bytes asked for at once; zero means 512 KiB

	Packing *Packing // makes frames small; nil sends them as they are, and reads none that is packed
	Close   bool     // close earlier writers, once it is time
	Alone   bool     // configured without seeds: with nobody known, there is nobody to ask
	Boots   []Boots  // of nodes, as the store has them at the start
}

// Times of the protocol.
const (
	rootEvery      = 500 * time.Millisecond // between two roots to random peers, with jitter
	rootMemory     = time.Second            // how long an own digest that passed still counts as equal
	differFor      = 300 * time.Millisecond // leaves that stayed different so long are looked into
	gapAge         = 200 * time.Millisecond // what was missing so long is asked for
	requestTimeout = 2 * time.Second        // without anything new
	maxTries       = 2                      // more of asking for received sets
	requestBound   = 10 * time.Second       // for a whole answer
	benchFirst     = 500 * time.Millisecond // a peer that did not answer is not asked; twice as long each time
	benchFor       = 10 * time.Second       // and no longer than this
	renewRetry     = time.Second
	owesEvery      = 100 * time.Millisecond // between two tries to tell a peer that it is owed a sync
	shunFor        = 30 * time.Second       // a range that a peer served malformed is not asked of it
	damageAge      = 30 * time.Second       // what looks like damage for so long is reported
	repairEvery    = time.Minute            // between two tries to end it
	maxBootAhead   = 2 * 365 * 24 * time.Hour
)

// Caps on what peers can make a core remember.
const (
	MaxWriters     = 1 << 16 // known writers
	maxNodeWriters = 1 << 12 // of one node
	maxGaps        = 1 << 12 // of one writer
	maxFetches     = 4       // peers asked for ranges at one time
	maxNodes       = 1 << 10 // of a list of leaves
)

// Core is one node's side of the protocol. Not safe for concurrent use.
type Core struct {
	cfg  Config
	self record.Writer
	own  []record.Writer // every writer of this start

	now    time.Duration
	wall   time.Time // of the last Tick
	random random

	book  book
	peers []*peer // by node
	queue queue

	listing    *peer // whose listing is being taken; nil for none
	listedFrom record.Node
	listedAt   time.Duration // when the last one began

	closing closing

	checking   bool          // a Check is out
	checkAt    time.Duration // none before
	soundUntil time.Duration // the rows here have summed

	nextRoot time.Duration
	nextID   uint64        // of requests
	renewing bool          // a Renew is out
	renewAt  time.Duration // when it is tried again; zero means not

	out   Ready
	stats Stats
}

// New returns the core of a node that runs as self and has received states.
// Now counts from any moment; wall is the time of day.
func New(cfg Config, self record.Writer, states []State, now time.Duration, wall time.Time) *Core {
	c := &Core{cfg: cfg.withDefaults(), self: self, own: []record.Writer{self}, now: now, wall: wall, random: random(cfg.Seed)}
	c.queue.init(c.cfg)
	c.book.load(states, cfg.Boots, now)
	c.nextRoot = now + c.random.jitter(rootEvery)
	return c
}

func (c Config) withDefaults() Config {
	if c.Queue == 0 {
		c.Queue = 16 << 20
	}
	if c.Share == 0 {
		c.Share = 2 << 20
	}
	if c.Want == 0 {
		c.Want = 512 << 10
	}
	return c
}

// Step takes what happened at now.
func (c *Core) Step(now time.Duration, e Event) {
	c.now = max(c.now, now)
	switch e := e.(type) {
	case Committed:
		c.committed(e.Entries)
	case Arrived:
		c.arrived(e.From, e.Frame)
	case Applied:
		c.applied(e.Outcomes)
	case ApplyFailed:
		c.queue.failed(c.now, &c.random)
	case Served:
		c.served(e)
	case Refused:
		c.refused(e)
	case Connected:
		c.connected(e.Peer)
	case Lost:
		c.lost(e.Peer)
	case Renewed:
		c.renewed(e.Writer)
	case Checked:
		c.checked(e)
	case TookPage:
		c.tookPage(e)
	case Restamped:
		c.restamped(e)
	case ClosedEarlier:
		c.closedEarlier(e)
	case Members:
		c.closing.members = slices.Clone(e.Nodes)
	case Confirmed:
		c.closing.unconfirmed = !e.Yes
	case Reloaded:
		c.reloaded(e)
	}
}

// Tick lets time pass. It is due at Wake, and harmless at any other time.
func (c *Core) Tick(now time.Duration, wall time.Time) {
	c.now, c.wall = max(c.now, now), wall
	if c.now >= c.nextRoot {
		c.nextRoot = c.now + c.random.jitter(rootEvery)
		if len(c.peers) > 0 {
			c.sendRoot(c.peers[c.random.below(len(c.peers))])
		}
	}
	if c.renewAt > 0 && c.now >= c.renewAt {
		c.renewAt = 0
		c.checkOwnTails()
	}
	c.advanceClosing()
	for _, p := range c.peers {
		if p.owes && c.now >= p.rootAt+owesEvery {
			c.sendRoot(p)
		}
		c.advance(p)
	}
}

// Wake returns when Tick is due next.
func (c *Core) Wake() time.Duration {
	at := c.nextRoot
	for _, p := range c.peers {
		if p.owes {
			at = min(at, p.rootAt+owesEvery)
		}
		if s := p.session.phase; s != idle && s != blocked && s != checking {
			at = min(at, p.session.due)
		}
	}
	if c.closes() {
		at = min(at, c.closing.due)
	}
	if c.queue.retryAt > 0 {
		at = min(at, c.queue.retryAt)
	}
	if c.renewAt > 0 {
		at = min(at, c.renewAt)
	}
	return at
}

// Ready returns what is to be done, and forgets it. At most one batch of
// deliveries is out at a time.
func (c *Core) Ready() Ready {
	c.out.Apply = c.queue.batch(c.now)
	out := c.out
	c.out = Ready{}
	return out
}

// Root returns the digest of all that was received.
func (c *Core) Root() Digest { return c.book.root }

// Received returns what was received of w.
func (c *Core) Received(w record.Writer) record.Received {
	if e := c.book.find(w); e != nil {
		return e.Received
	}
	return record.Received{}
}

func (c *Core) report(r Report) {
	c.out.Reports = append(c.out.Reports, r)
	c.blame(r)
}

func (c *Core) send(to record.Node, push bool, frame []byte) {
	c.out.Sends = append(c.out.Sends, Send{To: to, Push: push, Frame: frame})
}
