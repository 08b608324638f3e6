// Package fedsim assembles a federation under the simulator: the cores that
// ship, of several regions' replication and reports, of the lanes and directories
// of the global tier and of a router, over stores in memory or real databases and
// links that fail. A seed gives a script of work and
// faults; when it is over all faults are healed, and everything must become
// equal. The properties of this package are asked after everything that
// happens, and again when all is at rest.
//
// Nothing of the cores is copied or replaced here. What a runner does between
// core, store and mesh is done by type replica, without goroutines.
package fedsim

import (
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	replication "github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/sim"
	"github.com/firebreak-dev/firebreak/region/table"
)

// Options of a run. Equal options give equal runs.
type Options struct {
	Seed    uint64
	Regions int           // zero means 2
	Nodes   int           // of a region; zero means 3
	Globals int           // zero means 2; negative means none
	Actions int           // of the script; zero means 60
	Spread  time.Duration // over which they come; zero means 20 s

	Closing bool // nodes close their earlier starts, and collect tombstones
	SQLite  bool // stores are real databases, on disk; clocks keep time then, nobody forges, and nobody starts on the disk of another (it refuses)
	Path    bool // every fourth seed, and those played without a region, have reporters, directories and a router too
	Later   bool // every fourth seed goes on eight days later

	Script sim.Script // performed instead of the seed's own; nil means that
}

func (o Options) withDefaults() Options {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.Regions, 2)
	set(&o.Nodes, 3)
	set(&o.Globals, 2)
	set(&o.Actions, 60)
	if o.Spread == 0 {
		o.Spread = 20 * time.Second
	}
	return o
}

// String gives the flags that run it again.
func (o Options) String() string {
	return fmt.Sprintf("-seed %d -regions %d -nodes %d -globals %d -actions %d -spread %v -closing=%v -later=%v -path=%v -sqlite=%v", o.Seed, o.Regions, o.Nodes, o.Globals, o.Actions, o.Spread, o.Closing, o.Later, o.Path, o.SQLite)
}

// fleetName is the fleet's.
const fleetName = "sim"

// epoch is the wall time at which every federation begins.
var epoch = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// The bounds that are held.
const (
	healWithin  = 30 * time.Second // L4: every fault heals
	quietWithin = 5 * time.Second  // L1: a quiet cluster is equal
	emptyWithin = 20 * time.Second // L8: an empty node catches up
	exchangedIn = 60 * time.Second // L1, L4: more, if something looks like damage that is none
	closeWithin = 60 * time.Second // Q6: a closing that waits for nobody who is down is done
)

// linkQueues bound the bytes that wait in one flow of a link. That of pushes is
// small, so that it fills.
var linkQueues = map[string]int{push: 8 << 10, syncing: 256 << 10}

// The classes of flows.
const (
	push    = "push"
	syncing = "sync"
)

// federation is the world of one run.
type federation struct {
	opts    Options
	world   *sim.World
	net     *sim.Network
	sent    uint64 // frames offered to net
	realms  map[string]*realm
	order   []*realm   // by name
	tier    []*process // the global nodes
	router  *router    // nil if the report path is not played
	procs   map[string]*process
	all     []*process // in the order they were added
	props   sim.Properties[*federation, happened]
	images  map[string]image
	files   *files // of real databases; nil if stores are in memory
	packing *replication.Packing
	hits    sim.Hits
	faults  map[string]uint64 // actions performed, by kind
	broken  error             // the first violation
	script  sim.Script
	healed  bool          // faults are over
	passed  time.Duration // that all clocks have gone on beyond the world's
	rested  bool          // closings are done and tombstones had time to be collected
}

func newFederation(o Options) (*federation, error) {
	w := sim.New(o.Seed)
	f := &federation{
		opts: o, world: w, net: sim.NewNetwork(w, linkQueues), realms: map[string]*realm{}, procs: map[string]*process{},
		images: map[string]image{}, hits: sim.Hits{}, faults: map[string]uint64{},
	}
	var err error
	if f.packing, err = replication.NewPacking(table.Dictionaries()...); err != nil {
		panic(err) // only for a mistake in the dictionaries
	}
	if o.SQLite {
		if f.files, err = newFiles(); err != nil {
			return nil, err
		}
	}
	f.props = sim.Properties[*federation, happened]{All: Properties(), Checks: map[string]uint64{}}
	var regions []string
	for i := range o.Regions {
		region := fmt.Sprintf("r%d", i)
		regions = append(regions, region)
		for j := range o.Nodes {
			f.add(region, record.Node(fmt.Sprintf("%s-n%d", region, j)), []string{""})
		}
	}
	for j := range max(o.Globals, 0) {
		f.add("global", record.Node(fmt.Sprintf("g%d", j)), regions)
		f.tier = append(f.tier, f.all[len(f.all)-1])
	}
	w.AfterEach(func() error { return f.broken })
	return f, nil
}

// close ends all processes, and drops what they have on disk.
func (f *federation) close() {
	if f.files == nil {
		return
	}
	for _, p := range f.all {
		if p.up() {
			p.stop()
		}
	}
	f.files.close()
}

func (f *federation) add(cluster string, name record.Node, lanes []string) {
	p := &process{fed: f, cluster: cluster, name: name, conns: map[record.Node]*conn{}}
	for _, lane := range lanes {
		p.lanes = append(p.lanes, newReplica(p, f.realm(cluster, lane)))
	}
	f.procs[string(name)] = p
	f.all = append(f.all, p)
}

// realm returns what is known of all that is written in one lane of a cluster.
func (f *federation) realm(cluster, lane string) *realm {
	name := cluster + "/" + lane
	r := f.realms[name]
	if r == nil {
		r = newRealm(cluster, lane)
		if lane != "" && f.opts.reports() {
			for _, t := range pathTables() {
				r.addTable(t)
			}
		}
		f.realms[name] = r
		f.order = append(f.order, r)
	}
	return r
}

func (f *federation) fail(err error) {
	if f.broken == nil && err != nil {
		f.broken = err
	}
}

func (f *federation) hit(state string) { f.hits[state]++ }

// happen asks the properties about e.
func (f *federation) happen(e happened) {
	if f.broken == nil {
		f.fail(f.props.Happened(f, e))
	}
}
