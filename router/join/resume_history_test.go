package join_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/catalog/core"
	"github.com/firebreak-dev/firebreak/router/join"
	"github.com/firebreak-dev/firebreak/router/position"
)

// A fleet in miniature: regions whose gateways apply the same changes, each at
// its own pace; routers that follow one gateway of each region; clients that
// come and go, and keep what they have and where they were.

// gateway has applied the first so many changes of its region.
type gateway struct {
	name    string
	log     *[]truth // the region after each change
	applied int
	fit     bool
}

type truth map[string]uint64 // machine: epoch

func (g *gateway) at() truth { return (*g.log)[g.applied] }

func (g *gateway) position() []byte { return fmt.Appendf(nil, "%s:%d", g.name, g.applied) }

// stream is a router's watch of one region, at one gateway.
type stream struct {
	core    *join.Region
	gateway *gateway
	told    map[uint64]truth
	down    []*regionv1.WatchResponse // on the way to the router
}

func (s *stream) connect(g *gateway, now time.Duration) {
	s.gateway, s.told, s.down = g, map[uint64]truth{}, nil
	s.core.Connected(position.Tag(fleet.Worker(g.name)), at(now))
	s.status()
}

func (s *stream) status() {
	s.down = append(s.down, map[bool]*regionv1.WatchResponse{true: fit, false: unfit}[s.gateway.fit])
}

// serve lets the gateway take what the router asked, and say what changed.
func (s *stream) serve() {
	if s.gateway == nil {
		return
	}
	for _, req := range s.core.Requests() {
		if id := req.GetRemove(); id != 0 {
			delete(s.told, id)
		}
		if add := req.GetAdd(); add != nil {
			s.begin(add)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.told)) {
		s.tell(id, false)
	}
}

func (s *stream) begin(add *regionv1.WatchInterest) {
	id, from := add.GetId(), string(add.GetPosition())
	if name, n, ok := strings.Cut(from, ":"); ok && name == s.gateway.name {
		seq := 0
		_, _ = fmt.Sscan(n, &seq)
		s.told[id] = (*s.gateway.log)[seq]
		s.tell(id, true)
		return
	}
	if from != "" {
		s.down = append(s.down, &regionv1.WatchResponse{Interest: id, Event: &regionv1.WatchResponse_Resync{Resync: &regionv1.WatchResync{}}})
	}
	s.down = append(s.down, begin(id))
	s.told[id] = truth{}
	s.tell(id, true)
}

func (s *stream) tell(id uint64, sync bool) {
	was, is := s.told[id], s.gateway.at()
	var out []*regionv1.WatchResponse
	for _, m := range slices.Sorted(maps.Keys(is)) {
		if e, ok := was[m]; !ok || e != is[m] {
			up := machine(id, m, is[m])
			up.GetMachine().Addresses = []string{fmt.Sprintf("%s %s at %d", s.gateway.name[:3], m, is[m])}
			out = append(out, up)
		}
	}
	for _, m := range slices.Sorted(maps.Keys(was)) {
		if _, ok := is[m]; !ok {
			out = append(out, gone(id, m, true))
		}
	}
	if sync {
		out = append(out, synced(id))
	}
	if len(out) > 0 {
		out[len(out)-1].Position = s.gateway.position()
	}
	s.told[id] = is
	s.down = append(s.down, out...)
}

func (s *stream) deliver(n int, now time.Duration) {
	for ; n > 0 && len(s.down) > 0; n-- {
		_ = s.core.Handle(s.down[0], at(now))
		s.down = s.down[1:]
	}
}

// client is a catalog behind one watch.
type client struct {
	core    *core.Core
	shown   *core.App
	router  map[fleet.Region]*stream
	session *join.Session
	sub     join.Sub
	down    []*routerv1.WatchResponse
}

var places = []fleet.Region{"ams", "iad"}

func (c *client) enter(router map[fleet.Region]*stream, sub join.Sub, now time.Duration) (resumed bool) {
	c.router, c.session, c.sub, c.down = router, join.NewSession(), sub, nil
	c.session.AddApp("web", at(now))
	c.core.Connected()
	from, bad := position.All(c.core.Position([]string{"web"}, 1<<20))
	for _, region := range places {
		c.session.Stand("web", standing(region, 1, coverage.Live), yes)
		i := slices.IndexFunc(from, func(p position.Position) bool { return p.Region == region })
		if i < 0 {
			router[region].core.Add(sub, "web", at(now))
			continue
		}
		resumed = resumed || from[i].Usable()
		router[region].core.Resume(sub, from[i], at(now))
	}
	return resumed && bad == 0
}

func (c *client) leave(now time.Duration) {
	if c.router != nil {
		for _, region := range places {
			c.router[region].core.Leave(c.sub)
		}
		c.router = nil
		c.core.Lost(at(now).Time())
	}
}

// take lets the session pay and the client read at most so many messages; one
// that leaves loses the rest.
func (c *client) take(limit, read int, now time.Duration) {
	if c.router == nil {
		return
	}
	for _, region := range places {
		events, _ := c.router[region].core.Drain(c.sub, limit, at(now))
		c.session.Handle(region, events)
	}
	c.down = append(c.down, c.session.Take()...)
	for ; read > 0 && len(c.down) > 0; read-- {
		c.core.Step(c.down[0], at(now).Time())
		c.down = c.down[1:]
	}
	if a, ok := c.core.Ready()["web"]; ok {
		c.shown = a
	}
}

// has lists what the client has, and what it was told of each.
func (c *client) has() []string {
	var out []string
	if c.shown != nil {
		for _, e := range c.shown.Endpoints {
			out = append(out, fmt.Sprint(e.Region, "/", e.Machine, " ", e.Addresses, " contested ", e.Contested))
		}
	}
	return out
}

type history struct {
	rng      *rand.Rand
	now      time.Duration
	logs     map[fleet.Region]*[]truth
	gateways map[fleet.Region][]*gateway
	routers  []map[fleet.Region]*stream
	clients  []*client
	nextSub  join.Sub
	resumed  int
}

func newHistory(seed uint64) *history {
	h := &history{rng: rand.New(rand.NewPCG(seed, 11)), logs: map[fleet.Region]*[]truth{}, gateways: map[fleet.Region][]*gateway{}}
	for range 2 {
		h.routers = append(h.routers, map[fleet.Region]*stream{})
	}
	for _, region := range places {
		h.logs[region] = &[]truth{{}}
		for i := range 2 {
			h.gateways[region] = append(h.gateways[region], &gateway{name: fmt.Sprintf("%s-%d", region, i), log: h.logs[region], fit: true})
		}
		for _, r := range h.routers {
			r[region] = &stream{core: join.NewRegion(region)}
		}
	}
	for range 3 {
		h.clients = append(h.clients, &client{core: core.New("")})
	}
	return h
}

func (h *history) enter(c *client, r int) {
	c.leave(h.now)
	h.nextSub++
	if c.enter(h.routers[r], h.nextSub, h.now) {
		h.resumed++
	}
}

// change makes a change in a region. Epochs of a machine rise in all of them,
// so that claims in two regions are contested or not by who moved on.
func (h *history) change(region fleet.Region) {
	log := h.logs[region]
	next := maps.Clone((*log)[len(*log)-1])
	name := fmt.Sprint("m", h.rng.IntN(2)) // in both, now and then
	if h.rng.IntN(4) > 0 {
		name = fmt.Sprint(region, h.rng.IntN(3))
	}
	if h.rng.IntN(3) == 0 {
		delete(next, name)
	} else {
		next[name] = uint64(1 + h.rng.IntN(3))
	}
	*log = append(*log, next)
}

func (h *history) step() {
	h.now += time.Duration(h.rng.IntN(200)) * time.Millisecond
	region := places[h.rng.IntN(2)]
	g := h.gateways[region][h.rng.IntN(2)]
	r := h.rng.IntN(2)
	s, c := h.routers[r][region], h.clients[h.rng.IntN(3)]
	switch h.rng.IntN(16) {
	case 0:
		h.change(region)
	case 1:
		g.applied = min(g.applied+1+h.rng.IntN(2), len(*h.logs[region])-1)
	case 2:
		if h.rng.IntN(3) == 0 {
			s.core.Lost("cut", at(h.now))
			s.connect(g, h.now)
		}
	case 3:
		if h.rng.IntN(6) == 0 {
			g.fit = !g.fit
			for _, router := range h.routers {
				if router[region].gateway == g {
					router[region].status()
				}
			}
		}
	case 4, 5, 6:
		s.serve()
	case 7, 8, 9:
		s.deliver(1+h.rng.IntN(8), h.now)
	case 10, 11, 12, 13:
		c.take(1+h.rng.IntN(5), h.rng.IntN(12), h.now)
	default:
		if c.router == nil || h.rng.IntN(4) == 0 {
			h.enter(c, r)
		}
	}
}

// settle lets everything that was begun come to its end.
func (h *history) settle(clients ...*client) {
	for _, region := range places {
		for _, g := range h.gateways[region] {
			g.applied, g.fit = len(*h.logs[region])-1, true
		}
		for _, r := range h.routers {
			if r[region].gateway == nil {
				r[region].connect(h.gateways[region][0], h.now)
			}
			r[region].status()
		}
	}
	for range 12 {
		h.now += 100 * time.Millisecond
		for _, r := range h.routers {
			for _, region := range places {
				r[region].serve()
				r[region].deliver(all, h.now)
				r[region].core.Tick(at(h.now))
			}
		}
		for _, c := range clients {
			c.take(all, all, h.now)
		}
	}
}

// Whoever comes back with a position, wherever and whenever, ends up with what
// a client has that starts from nothing.
func TestWhoResumesEndsUpLikeWhoBeginsAnew(t *testing.T) {
	resumed, held := 0, uint64(0)
	for seed := range uint64(1500) {
		h := newHistory(seed)
		for range 300 {
			h.step()
		}
		h.settle(h.clients...)
		fresh := &client{core: core.New("")}
		for _, c := range h.clients {
			if c.router == nil {
				h.enter(c, h.rng.IntN(2))
			}
		}
		h.enter(fresh, 0)
		h.settle(append(h.clients, fresh)...)
		n := len((*h.logs["ams"])[len(*h.logs["ams"])-1]) + len((*h.logs["iad"])[len(*h.logs["iad"])-1])
		if len(fresh.has()) != n {
			t.Fatalf("seed %d: a new client has %v, there are %d", seed, fresh.has(), n)
		}
		for i, c := range h.clients {
			if diff := cmp.Diff(fresh.has(), c.has()); diff != "" {
				t.Fatalf("seed %d, client %d: %s", seed, i, diff)
			}
		}
		resumed += h.resumed
		for _, r := range h.routers {
			for _, region := range places {
				held += r[region].core.Resumes().Held
			}
		}
	}
	t.Logf("%d returns with a position, %d apps went on from one", resumed, held)
	if resumed < 1000 || held < 1000 {
		t.Error("the histories try too little")
	}
}
