package simbench

import (
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/firebreak-dev/firebreak/internal/bench/stat"
)

// What memberlist puts around broadcasts in a packet, and the size of its ping
// and ack, as its source has them.
const (
	compoundHeader = 2
	compoundEach   = 2
	userByte       = 1
	pingBytes      = 60
)

// gossip is a cluster whose nodes spread broadcasts as memberlist does: with
// its own queue, its defaults for a LAN, a round of gossip to 3 nodes five
// times a second, and what rides on a ping a second and its ack. Membership is
// at rest.
type gossip struct {
	cfg    *memberlist.Config
	random *rand.Rand
	now    time.Duration
	due    dues
	order  int
	nodes  []*gossiper

	waiting    map[uint64]*flight
	last       []float64
	bytes      int
	came, news int // payloads that came to a node, and those that it did not have
}

type gossiper struct {
	queue memberlist.TransmitLimitedQueue
	seen  map[uint64]bool
}

func newGossip(n int, seed uint64) *gossip {
	g := &gossip{cfg: memberlist.DefaultLANConfig(), random: rand.New(rand.NewPCG(seed, 2)), waiting: map[uint64]*flight{}}
	for i := range n {
		x := &gossiper{seen: map[uint64]bool{}}
		x.queue.NumNodes, x.queue.RetransmitMult = func() int { return n }, g.cfg.RetransmitMult
		g.nodes = append(g.nodes, x)
		g.every(g.cfg.GossipInterval, func() { g.round(i) })
		g.every(g.cfg.ProbeInterval, func() { g.probe(i) })
	}
	return g
}

// every has something happen again and again, from a random moment on.
func (g *gossip) every(d time.Duration, do func()) {
	var again func()
	again = func() { do(); g.at(g.now+d, again) }
	g.at(time.Duration(g.random.Int64N(int64(d))), again)
}

func (g *gossip) at(when time.Duration, do func()) {
	g.order++
	heap.Push(&g.due, due{when, g.order, do})
}

func (g *gossip) run(until time.Duration) {
	for g.due[0].at <= until {
		d := heap.Pop(&g.due).(due)
		g.now = d.at
		d.do()
	}
	g.now = until
}

// round sends what waits to a few nodes.
func (g *gossip) round(from int) {
	for _, to := range g.random.Perm(len(g.nodes) - 1)[:g.cfg.GossipNodes] {
		if to >= from {
			to++
		}
		g.packet(from, to, 0)
	}
}

// probe sends a ping and has it answered; both carry what fits.
func (g *gossip) probe(from int) {
	to := g.random.IntN(len(g.nodes))
	if to != from {
		g.packet(from, to, pingBytes)
		g.at(g.now+g.delay(), func() { g.packet(to, from, pingBytes) })
	}
}

func (g *gossip) delay() time.Duration {
	return spreadDelay/2 + time.Duration(g.random.Int64N(int64(spreadDelay)+1))
}

func (g *gossip) packet(from, to, used int) {
	msgs := g.nodes[from].queue.GetBroadcasts(compoundEach+userByte, g.cfg.UDPBufferSize-compoundHeader-used)
	if len(msgs) == 0 {
		return
	}
	g.bytes += compoundHeader
	for _, m := range msgs {
		g.bytes += compoundEach + userByte + len(m)
	}
	g.at(g.now+g.delay(), func() { g.arrived(to, msgs) })
}

func (g *gossip) arrived(at int, msgs [][]byte) {
	x := g.nodes[at]
	for _, m := range msgs {
		g.came++
		id := binary.BigEndian.Uint64(m)
		if x.seen[id] {
			continue
		}
		g.news++
		x.seen[id] = true
		x.queue.QueueBroadcast(broadcast(m))
		if f := g.waiting[id]; f != nil {
			if f.left--; f.left == 0 {
				g.last = append(g.last, (g.now - f.at).Seconds())
				delete(g.waiting, id)
			}
		}
	}
}

// write broadcasts an update of some bytes.
func (g *gossip) write(from int, id uint64, size int) {
	m := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(m, id)
	x := g.nodes[from]
	x.seen[id] = true
	x.queue.QueueBroadcast(broadcast(m))
	g.waiting[id] = &flight{g.now, len(g.nodes) - 1}
}

func gossiped(ctx context.Context, n, size int, seed uint64) (Spread, error) {
	g := newGossip(n, seed)
	g.run(2 * time.Second)
	for i := range spreadWrites {
		if err := ctx.Err(); err != nil {
			return Spread{}, err
		}
		g.write(g.random.IntN(n), uint64(i+1), size)
		g.run(g.now + spreadEvery)
	}
	g.run(g.now + time.Minute)
	if len(g.last) == 0 {
		return Spread{}, errors.New("no update came to all nodes")
	}
	for range g.waiting { // it promises nothing: what is not everywhere by now never is
		g.last = append(g.last, time.Minute.Seconds())
	}
	return Spread{
		Copies: float64(g.came) / float64(g.news), Bytes: float64(g.bytes) / spreadWrites,
		P50: seconds(stat.Quantile(g.last, 0.5)), P99: seconds(stat.Quantile(g.last, 0.99)), size: size,
	}, nil
}

// broadcast is one update; none replaces another.
type broadcast []byte

// Invalidates implements memberlist.Broadcast.
func (broadcast) Invalidates(memberlist.Broadcast) bool { return false }

// Message implements memberlist.Broadcast.
func (b broadcast) Message() []byte { return b }

// Finished implements memberlist.Broadcast.
func (broadcast) Finished() {}

// due is something that is to happen.
type due struct {
	at    time.Duration
	order int // of those of one moment
	do    func()
}

type dues []due

func (d dues) Len() int { return len(d) }
func (d dues) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].order < d[j].order
}
func (d dues) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)   { *d = append(*d, x.(due)) }
func (d *dues) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}
