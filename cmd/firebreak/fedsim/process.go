package fedsim

import (
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	core "github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/sim"
)

// process is one node: a region's, with one lane, or a global one's with a
// lane for each region.
type process struct {
	fed     *federation
	cluster string
	name    record.Node
	lanes   []*replica
	skew    time.Duration // of its wall clock
	met     []record.Node // peers that its disk tells of, by name

	life     *sim.Life // nil while it is down
	reporter *reporter // of this start of a region's node, if the report path is played
	conns    map[record.Node]*conn
	apart    map[record.Node]time.Duration // since when there is no connection to a peer
}

// conn is a connection to one start of a peer.
type conn struct {
	peer   *process
	life   *sim.Life
	silent time.Duration // since when nothing passes; zero while it does
}

// Times of the membership that the simulator plays: a link that passes nothing
// is given up, and a peer that is not connected is dialled again for ever.
const (
	dialEvery = 500 * time.Millisecond
	idleAfter = 3 * time.Second
	longSplit = 8 * time.Second // a split that counts as one: far beyond idleAfter
)

func (p *process) up() bool { return p.life != nil }

func (p *process) wall() time.Time { return epoch.Add(p.fed.world.Now() + p.fed.passed + p.skew) }

func (p *process) lane(name string) *replica {
	for _, r := range p.lanes {
		if r.realm.lane == name {
			return r
		}
	}
	return nil
}

// peers lists the other processes of the cluster.
func (p *process) peers() []*process {
	var out []*process
	for _, o := range p.fed.all {
		if o != p && o.cluster == p.cluster {
			out = append(out, o)
		}
	}
	return out
}

// start opens the stores on the process's disks and begins to dial.
func (p *process) start() {
	w := p.fed.world
	p.life, p.conns, p.apart = &sim.Life{}, map[record.Node]*conn{}, map[record.Node]time.Duration{}
	w.Note("start", string(p.name), nil)
	for _, r := range p.lanes {
		r.open()
	}
	p.dial()
	p.startPath()
}

// stop ends the process cleanly, crash as a power cut does.
func (p *process) stop()  { p.end("stop", func(r *replica) { _ = r.store.Close() }) }
func (p *process) crash() { p.end("crash", func(r *replica) { r.store.Crash() }) }

func (p *process) end(what string, how func(*replica)) {
	p.fed.world.Note(what, string(p.name), nil)
	p.life.End()
	p.life = nil
	for _, r := range p.lanes {
		r.close(how)
	}
}

// dial connects to peers that can be reached, gives up those that cannot, and
// comes again.
func (p *process) dial() {
	now := p.fed.world.Now()
	for _, o := range p.peers() {
		passes := !p.fed.net.IsCut(string(p.name), string(o.name)) && !p.fed.net.IsCut(string(o.name), string(p.name))
		c := p.conns[o.name]
		switch {
		case c == nil && passes && o.up():
			p.meet(o)
			o.meet(p)
		case c == nil:
			if _, ok := p.apart[o.name]; !ok {
				p.apart[o.name] = now
			}
		case c.life == o.life && passes:
			c.silent = 0
		case c.life != o.life && passes && o.up():
			p.meet(o) // it started anew
			o.meet(p)
		case c.silent == 0:
			c.silent = now
		case now >= c.silent+idleAfter:
			p.part(o)
		}
	}
	p.fed.world.At(now+dialEvery, p.life, p.dial)
}

func (p *process) meet(o *process) {
	if c := p.conns[o.name]; c != nil && c.life == o.life {
		return
	}
	if since, ok := p.apart[o.name]; ok && p.fed.world.Now() >= since+longSplit {
		p.fed.hit(HitRejoin)
	}
	delete(p.apart, o.name)
	p.conns[o.name] = &conn{peer: o, life: o.life}
	if i, ok := slices.BinarySearch(p.met, o.name); !ok {
		p.met = slices.Insert(p.met, i, o.name)
	}
	for _, r := range p.lanes {
		r.core.Step(p.fed.world.Now(), p.members())
		r.connected(o.name)
	}
}

func (p *process) part(o *process) {
	delete(p.conns, o.name)
	p.apart[o.name] = p.fed.world.Now()
	for _, r := range p.lanes {
		r.lost(o.name)
	}
}

// members names the peers that p has met, on any disk that it has: up or not.
func (p *process) members() core.Members { return core.Members{Nodes: slices.Clone(p.met)} }

// whole reports whether p runs and is connected with all its peers.
func (p *process) whole() bool {
	return p.up() && !slices.ContainsFunc(p.peers(), func(o *process) bool {
		c := p.conns[o.name]
		return c == nil || c.life != o.life
	})
}
