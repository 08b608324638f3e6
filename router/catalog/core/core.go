// Package core is the pure part of a catalog: what a router's watch says, kept
// as claims per app and region, and made into the ordered endpoints of an app.
// It is driven by package catalog, and by simulations.
//
// What it keeps true: a machine goes only when its region said so (an end, a
// complete list of a region that is live, a proven absence); a stream that
// begins, ends or says that a region is lost takes nothing away.
package core

import (
	"cmp"
	"maps"
	"slices"
	"time"

	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// Service is one port of a machine.
type Service struct {
	Name, Protocol string
	Port           uint32
}

// Endpoint is one machine to send traffic to. Its slices are shared and must
// not be written to.
type Endpoint struct {
	Region, Worker, Machine, App string
	Locality                     string
	Addresses                    []string // IP literals that no earlier endpoint of the app has
	Services                     []Service
	Warning                      bool // its checks warn
	Suspect                      bool // its node is dead or restarting: it comes last
	Contested                    bool // another place claims this machine too
	Moving                       bool // being handed over: it may be in two places
}

// App is what there is to say about an app at one moment. It is never changed
// after it was made.
type App struct {
	Endpoints  []Endpoint
	Complete   bool      // every region that matters is accounted for
	StaleSince time.Time // since when a region's part is not current; zero if all are
}

// Core holds what the watch said. Not safe for concurrent use.
type Core struct {
	locality   string
	localities map[string]string // region: locality
	apps       map[string]*app
	others     map[string]clusterv1.CoverageState // how regions stand to apps that they are not known to run
	unsure     bool                               // the list of regions is too old
	dirty      map[string]struct{}
}

type app struct {
	parts    map[string]*part
	listed   bool     // an app_synced came, on some stream
	complete bool     // as it said
	regions  []string // that it covered
}

// part is one region's part of an app.
type part struct {
	claims map[key]claim
	state  clusterv1.CoverageState
	since  time.Time // when it was current last; set while it is not
	list   uint64    // number of the list that is under way, or was last complete
	listed bool      // it began on this stream

	position []byte // of exactly these claims, for the next stream; nil if there is none
}

type key struct{ worker, id string }

type claim struct {
	endpoint Endpoint
	routable bool
	list     uint64 // that named it last
}

// New returns an empty Core; regions of locality are near.
func New(locality string) *Core {
	return &Core{
		locality: locality, localities: map[string]string{}, apps: map[string]*app{},
		others: map[string]clusterv1.CoverageState{}, dirty: map[string]struct{}{},
	}
}

// Connected says that a stream begins.
func (c *Core) Connected() {
	clear(c.others)
	c.list(true)
}

// Lost says that the stream ended: nothing is current any more.
func (c *Core) Lost(now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(c.apps)) {
		a := c.apps[name]
		a.listed = false
		for _, region := range slices.Sorted(maps.Keys(a.parts)) {
			p := a.parts[region]
			p.listed = false
			if p.since.IsZero() {
				p.since = now
			}
		}
	}
}

// Localities says which locality regions are of.
func (c *Core) Localities(m map[string]string) {
	if maps.Equal(c.localities, m) {
		return
	}
	c.localities = maps.Clone(m)
	for name := range maps.Keys(c.apps) {
		c.dirty[name] = struct{}{}
	}
}

// Forget drops an app that is watched no more.
func (c *Core) Forget(name string) {
	delete(c.apps, name)
	c.dirty[name] = struct{}{}
}

// Step takes one message of the stream.
func (c *Core) Step(resp *routerv1.WatchResponse, now time.Time) {
	if resp.GetApp() == "" {
		if st := resp.GetStatus(); st != nil {
			c.region(st.GetCoverage())
		}
		if l := resp.GetList(); l != nil {
			c.list(l.GetCurrent())
		}
		return
	}
	a := c.apps[resp.GetApp()]
	if resp.GetBookmark() != nil {
		if a != nil && a.parts[resp.GetRegion()] != nil {
			a.parts[resp.GetRegion()].moved(resp)
		}
		return
	}
	if a == nil {
		a = &app{parts: map[string]*part{}}
		c.apps[resp.GetApp()] = a
	}
	c.dirty[resp.GetApp()] = struct{}{}
	if e := resp.GetAppSynced(); e != nil {
		c.synced(a, e)
		return
	}
	p := a.parts[resp.GetRegion()]
	if p == nil {
		p = &part{claims: map[key]claim{}, since: now}
		a.parts[resp.GetRegion()] = p
	}
	switch e := resp.GetEvent().(type) {
	case *routerv1.WatchResponse_Reset_:
		p.list, p.listed = p.list+1, true
	case *routerv1.WatchResponse_Machine:
		p.claims[key{e.Machine.GetWorker(), e.Machine.GetId()}] = claim{endpoint(resp, e.Machine), e.Machine.GetRoutable(), p.list}
	case *routerv1.WatchResponse_Gone:
		delete(p.claims, key{e.Gone.GetWorker(), e.Gone.GetId()})
	case *routerv1.WatchResponse_Synced:
		if p.state == clusterv1.CoverageState_COVERAGE_STATE_LIVE && p.listed {
			maps.DeleteFunc(p.claims, func(_ key, cl claim) bool { return cl.list != p.list })
		}
	case *routerv1.WatchResponse_Status:
		c.status(a, p, resp.GetRegion(), e.Status.GetCoverage(), now)
	}
	p.moved(resp)
}

// moved takes the position of a message. One that changes claims and has none
// ends the one before.
func (p *part) moved(resp *routerv1.WatchResponse) {
	switch resp.GetEvent().(type) {
	case *routerv1.WatchResponse_Reset_, *routerv1.WatchResponse_Machine, *routerv1.WatchResponse_Gone:
		p.position = nil
	}
	if len(resp.GetPosition()) > 0 {
		p.position = resp.GetPosition()
	}
}

// Position returns where the watch of these apps goes on, in at most limit
// bytes. Apps that find no room begin anew.
func (c *Core) Position(apps []string, limit int) []byte {
	var out []byte
	for _, name := range apps {
		a := c.apps[name]
		if a == nil {
			continue
		}
		for _, region := range slices.Sorted(maps.Keys(a.parts)) {
			if p := a.parts[region].position; len(out)+len(p) <= limit {
				out = append(out, p...)
			}
		}
	}
	return out
}

// status takes how a region's part of an app stands from now on.
func (c *Core) status(a *app, p *part, region string, cov *clusterv1.Coverage, now time.Time) {
	p.state = cov.GetState()
	switch p.state {
	case clusterv1.CoverageState_COVERAGE_STATE_PRUNED:
		delete(a.parts, region) // proven: the app is not there
	case clusterv1.CoverageState_COVERAGE_STATE_LIVE:
		p.since = time.Time{}
	default:
		if p.since.IsZero() {
			p.since = now
		}
		if ms := cov.GetAgeMs(); ms > 0 && ms < int64(1<<40) {
			if at := now.Add(-time.Duration(ms) * time.Millisecond); at.Before(p.since) {
				p.since = at
			}
		}
	}
}

// synced takes how an app is covered: regions that are proven not to run it,
// or that do not exist any more, have no part of it.
func (c *Core) synced(a *app, e *routerv1.AppSynced) {
	a.listed, a.complete = true, e.GetComplete()
	a.regions = nil
	for _, cov := range e.GetCoverage() {
		a.regions = append(a.regions, cov.GetRegion())
		if cov.GetState() == clusterv1.CoverageState_COVERAGE_STATE_PRUNED {
			delete(a.parts, cov.GetRegion())
		}
	}
	if a.complete && len(a.regions) > 0 {
		maps.DeleteFunc(a.parts, func(region string, _ *part) bool { return !slices.Contains(a.regions, region) })
	}
}

// region takes how a region stands to every app that it is not known to run.
func (c *Core) region(cov *clusterv1.Coverage) {
	old, known := c.others[cov.GetRegion()]
	c.others[cov.GetRegion()] = cov.GetState()
	if known && covered(old) == covered(cov.GetState()) {
		return
	}
	for name := range maps.Keys(c.apps) {
		c.dirty[name] = struct{}{}
	}
}

// list takes whether the list of regions is current.
func (c *Core) list(current bool) {
	if c.unsure == !current {
		return
	}
	c.unsure = !current
	for name := range maps.Keys(c.apps) {
		c.dirty[name] = struct{}{}
	}
}

func covered(s clusterv1.CoverageState) bool {
	return s == clusterv1.CoverageState_COVERAGE_STATE_LIVE || s == clusterv1.CoverageState_COVERAGE_STATE_PRUNED
}

// complete reports whether every region is accounted for, by its own part of
// the app or by how it stands to apps that it does not run.
func (c *Core) complete(a *app) bool {
	if !a.listed || len(a.regions) == 0 || c.unsure {
		return false
	}
	for _, region := range a.regions {
		if p := a.parts[region]; p != nil {
			if !covered(p.state) || !p.since.IsZero() {
				return false
			}
		} else if s, ok := c.others[region]; !ok && !a.complete || ok && !covered(s) {
			return false
		}
	}
	return true
}

// Ready returns the apps that changed since the last call, made anew; nil for
// one of which nothing is known any more.
func (c *Core) Ready() map[string]*App {
	if len(c.dirty) == 0 {
		return nil
	}
	out := make(map[string]*App, len(c.dirty))
	for _, name := range slices.Sorted(maps.Keys(c.dirty)) {
		out[name] = c.build(name)
	}
	clear(c.dirty)
	return out
}

func (c *Core) build(name string) *App {
	a := c.apps[name]
	if a == nil {
		return nil
	}
	out := &App{Complete: c.complete(a)}
	for _, region := range slices.Sorted(maps.Keys(a.parts)) {
		p := a.parts[region]
		if !p.since.IsZero() && (out.StaleSince.IsZero() || p.since.Before(out.StaleSince)) {
			out.StaleSince = p.since
		}
		for k := range maps.Keys(p.claims) {
			if cl := p.claims[k]; cl.routable {
				cl.endpoint.Locality = c.localities[region]
				out.Endpoints = append(out.Endpoints, cl.endpoint)
			}
		}
	}
	c.order(out.Endpoints)
	out.Endpoints = eachAddressOnce(out.Endpoints)
	return out
}

// order puts the endpoints in the order in which to try them: those of living
// nodes first, then those without a warning, then the near ones.
func (c *Core) order(list []Endpoint) {
	far := func(e Endpoint) bool { return c.locality != "" && e.Locality != c.locality }
	slices.SortFunc(list, func(a, b Endpoint) int {
		return cmp.Or(
			compareBool(a.Suspect, b.Suspect), compareBool(a.Warning, b.Warning), compareBool(far(a), far(b)),
			cmp.Compare(a.Region, b.Region), cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Machine, b.Machine),
		)
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// eachAddressOnce leaves every address to the first endpoint that has it, and
// leaves out endpoints that have none left.
func eachAddressOnce(list []Endpoint) []Endpoint {
	seen := make(map[string]struct{}, len(list))
	out := list[:0]
	for _, e := range list {
		mine := e.Addresses[:0:0]
		for _, addr := range e.Addresses {
			if _, ok := seen[addr]; !ok {
				seen[addr] = struct{}{}
				mine = append(mine, addr)
			}
		}
		if len(mine) == 0 && len(e.Addresses) > 0 {
			continue
		}
		if len(mine) < len(e.Addresses) {
			e.Addresses = mine
		}
		out = append(out, e)
	}
	return slices.Clip(out)
}

func endpoint(resp *routerv1.WatchResponse, m *regionv1.Machine) Endpoint {
	e := Endpoint{
		Region: resp.GetRegion(), Worker: m.GetWorker(), Machine: m.GetId(), App: resp.GetApp(),
		Addresses: m.GetAddresses(), Suspect: m.GetSuspect(), Contested: m.GetContested(),
		Warning: m.GetHealth() == regionv1.HealthStatus_HEALTH_STATUS_WARNING,
		Moving:  m.GetState() == regionv1.MachineState_MACHINE_STATE_MOVED,
	}
	for _, s := range m.GetServices() {
		e.Services = append(e.Services, Service{Name: s.GetName(), Protocol: s.GetProtocol(), Port: s.GetPort()})
	}
	return e
}
