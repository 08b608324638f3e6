package check

import (
	"errors"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/router/catalog"
)

// nodes is a federation of which only the plan is asked.
type nodes struct {
	Nodes
	plan federation.Plan
}

func (n nodes) Plan() federation.Plan { return n.plan }

// endpoints is a catalog by app.
type endpoints map[string]catalog.View

func (e endpoints) Watch(string) {}

func (e endpoints) Lookup(app string) (catalog.View, bool) {
	v, ok := e[app]
	return v, ok
}

func machines() truth.Snapshot {
	iad := truth.Place{Region: "iad", Worker: "iad-1"}
	ams := truth.Place{Region: "ams", Worker: "ams-1"}
	return truth.Snapshot{{Place: ams, ID: "c", App: "web"}, {Place: iad, ID: "a", App: "web"}, {Place: iad, ID: "b", App: "api"}}
}

func newRound(t *testing.T) *round {
	t.Helper()
	plan, err := federation.NewPlan(federation.Spec{Regions: []fleet.Region{"iad", "ams"}, Workers: 1, Globals: 1, Routers: 1})
	if err != nil {
		t.Fatal(err)
	}
	return &round{
		cfg:   Config{Nodes: nodes{plan: plan}, Catalog: endpoints{}},
		truth: machines(), held: map[listing]bool{}, regions: map[fleet.Region]*regionView{},
	}
}

// expect checks that a verdict is good, or bad with words in its detail.
func expect(t *testing.T, name string, c Check, words ...string) {
	t.Helper()
	if c.OK != (len(words) == 0) {
		t.Errorf("%s: ok %v: %s", name, c.OK, c.Detail)
	}
	for _, w := range words {
		if !strings.Contains(c.Detail, w) {
			t.Errorf("%s: %q does not say %q", name, c.Detail, w)
		}
	}
}

func TestNodesOfARegionMustBeEqual(t *testing.T) {
	view := func(change func(*nodeView)) *regionView {
		v := &regionView{}
		for _, name := range []fleet.Worker{"iad-1", "iad-2"} {
			v.nodes = append(v.nodes, nodeView{
				Node:   federation.Node{Role: federation.Region, Region: "iad", Name: name},
				status: &regionv1.StatusResponse{Root: "aa", Rows: 5},
			})
		}
		change(&v.nodes[1])
		return v
	}
	for _, c := range []struct {
		name   string
		change func(*nodeView)
		words  []string
	}{
		{"equal", func(*nodeView) {}, nil},
		{"root", func(n *nodeView) { n.status.Root = "bb" }, []string{"iad/iad-2: root bb", "iad/iad-1 has aa"}},
		{"rows", func(n *nodeView) { n.status.Rows = 6 }, []string{"6 rows", "has 5"}},
		{"withheld", func(n *nodeView) { n.status.Withheld = 2 }, []string{"2 records are withheld"}},
		{"gaps", func(n *nodeView) { n.status.Gaps = 3 }, []string{"3 versions are missing"}},
		{"silent", func(n *nodeView) { n.err = errors.New("no answer") }, []string{"iad/iad-2: no answer"}},
	} {
		v := view(c.change)
		expect(t, c.name, v.equal("iad"), c.words...)
		if wantRoot := c.name != "root" && c.name != "silent"; (v.root() == "aa") != wantRoot {
			t.Errorf("%s: root %q", c.name, v.root())
		}
	}
}

func TestRowsOfEveryNodeMustBeTrue(t *testing.T) {
	r := newRound(t)
	r.regions["ams"] = &regionView{nodes: []nodeView{{Node: federation.Node{Role: federation.Region, Region: "ams", Name: "ams-1"}, machines: r.truth.In("ams")}}}
	iad := &regionView{nodes: []nodeView{{Node: federation.Node{Role: federation.Region, Region: "iad", Name: "iad-1"}, machines: r.truth.In("iad")}}}
	r.regions["iad"] = iad
	for _, c := range r.regionsAreTrue() {
		expect(t, c.Name, c)
	}
	iad.nodes[0].machines = iad.nodes[0].machines[1:]
	expect(t, "a missing machine", r.regionsAreTrue()[0], "iad/iad-1: missing iad/iad-1/a (web)")
}

func TestADirectoryMustHaveTheClassOfEveryAppAndFreshRegions(t *testing.T) {
	info := func(region string, age int64) *globalv1.RegionInfo {
		return &globalv1.RegionInfo{Region: region, ConfirmedAgeMs: age}
	}
	for _, c := range []struct {
		name   string
		change func(*round, *directory)
		words  []string
	}{
		{"true", func(*round, *directory) {}, nil},
		{"class", func(_ *round, d *directory) { d.classes[listing{"iad", "web"}] = 2 }, []string{"class of web in iad: 2, want 1"}},
		{"missing", func(_ *round, d *directory) { delete(d.classes, listing{"ams", "web"}) }, []string{"class of web in ams: 0, want 1"}},
		{"extra", func(_ *round, d *directory) { d.classes[listing{"ams", "old"}] = 1 }, []string{"class of old in ams: 1, want 0"}},
		{"held", func(r *round, d *directory) {
			d.classes[listing{"ams", "old"}] = 1
			r.held[listing{"ams", "old"}] = true
		}, nil},
		{"held is no excuse for a wrong class", func(r *round, d *directory) {
			d.classes[listing{"iad", "web"}] = 2
			r.held[listing{"iad", "web"}] = true
		}, []string{"class of web in iad"}},
		{"unknown region", func(_ *round, d *directory) { d.regions = d.regions[:1] }, []string{"region ams is not listed"}},
		{"old", func(_ *round, d *directory) { d.regions[0].ConfirmedAgeMs = 16_000 }, []string{"region iad was confirmed 16000 ms ago"}},
		{"never", func(_ *round, d *directory) { d.regions[0].ConfirmedAgeMs = -1 }, []string{"region iad was confirmed -1 ms ago"}},
		{"withheld", func(_ *round, d *directory) {
			d.status.Lanes = []*globalv1.LaneStatus{{Region: "iad", Withheld: 1}}
		}, []string{"lane iad: 1 records are withheld"}},
		{"silent", func(_ *round, d *directory) { d.err = errors.New("no answer") }, []string{"no answer"}},
	} {
		r := newRound(t)
		d := &directory{
			classes: map[listing]presence.Class{{"iad", "web"}: 1, {"iad", "api"}: 1, {"ams", "web"}: 1},
			regions: []*globalv1.RegionInfo{info("iad", 10), info("ams", 2000)},
			status:  &globalv1.StatusResponse{},
		}
		c.change(r, d)
		expect(t, c.name, verdict("directory", d.differs(r), ""), c.words...)
	}
}

func TestLanesOfAllGlobalNodesMustBeEqual(t *testing.T) {
	node := func(name fleet.Worker, root string) directory {
		return directory{
			node:   federation.Node{Role: federation.Global, Name: name},
			status: &globalv1.StatusResponse{Lanes: []*globalv1.LaneStatus{{Region: "iad", Root: root}}},
		}
	}
	expect(t, "equal", lanesEqual([]directory{node("g1", "aa"), node("g2", "aa")}))
	expect(t, "unequal", lanesEqual([]directory{node("g1", "aa"), node("g2", "bb")}), "global/g2: lane iad has root bb, another node aa")
}

func TestACatalogMustShowEveryEndpointAndNoOther(t *testing.T) {
	endpoint := func(m truth.Machine) catalog.Endpoint {
		return catalog.Endpoint{Region: string(m.Region), Worker: string(m.Worker), Machine: string(m.ID), App: string(m.App)}
	}
	for _, c := range []struct {
		name   string
		change func(endpoints)
		words  []string
	}{
		{"true", func(endpoints) {}, nil},
		{"app missing", func(e endpoints) { delete(e, "api") }, []string{"app api is not known yet"}},
		{"endpoint missing", func(e endpoints) { e["web"] = catalog.View{Complete: true, Endpoints: e["web"].Endpoints[:1]} }, []string{"app web: missing iad/iad-1/a"}},
		{"endpoint of an app without machines", func(e endpoints) {
			e["old"] = catalog.View{Complete: true, Endpoints: e["api"].Endpoints}
		}, []string{"app old: extra iad/iad-1/b"}},
		{"incomplete", func(e endpoints) { e["api"] = catalog.View{Endpoints: e["api"].Endpoints} }, []string{"app api is not complete"}},
		{"suspect", func(e endpoints) {
			e["api"].Endpoints[0].Suspect = true
		}, []string{"iad/iad-1/b is suspect"}},
	} {
		r := newRound(t)
		r.cfg.Apps = []fleet.App{"old"}
		m := machines()
		e := endpoints{
			"web": {Complete: true, Endpoints: []catalog.Endpoint{endpoint(m[0]), endpoint(m[1])}},
			"api": {Complete: true, Endpoints: []catalog.Endpoint{endpoint(m[2])}},
			"old": {Complete: true},
		}
		c.change(e)
		r.cfg.Catalog = e
		expect(t, c.name, r.catalog("catalog", r.cfg.Catalog), c.words...)
	}
}

func TestARegionIsQuietIfItsRootStays(t *testing.T) {
	type roots = map[fleet.Region]string
	for _, c := range []struct {
		name        string
		before, now roots
		want        bool
	}{
		{"first look", nil, roots{"iad": "aa"}, false},
		{"stays", roots{"iad": "aa"}, roots{"iad": "aa"}, true},
		{"changes", roots{"iad": "aa"}, roots{"iad": "bb"}, false},
		{"nodes differ", roots{"iad": ""}, roots{"iad": ""}, false},
	} {
		if got := quiet(c.before, c.now).OK; got != c.want {
			t.Errorf("%s: quiet %v", c.name, got)
		}
	}
}

func TestErrNamesOnlyWhatFailed(t *testing.T) {
	r := Result{Checks: []Check{{Name: "one", OK: true, Detail: "fine"}, {Name: "two", Detail: "differs"}}}
	if err := r.Err(); err == nil || err.Error() != "two: differs" {
		t.Errorf("got %v", err)
	}
	if err := (Result{Checks: r.Checks[:1]}).Err(); err != nil {
		t.Errorf("got %v", err)
	}
}
