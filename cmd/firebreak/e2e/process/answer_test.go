package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// machine is one that was published: the truth that answers are held against.
type machine struct{ region, app, id string }

// coverage is that of the commands' JSON.
type coverage map[string]struct{ State, Detail string }

// apps lists the apps of the truth.
func (f *federation) apps() []string {
	var out []string
	for _, m := range f.truth {
		if !slices.Contains(out, m.app) {
			out = append(out, m.app)
		}
	}
	return out
}

// ids lists the machines of an app, of all apps if it is empty, that keep
// accepts, in order.
func (f *federation) ids(app string, keep func(machine) bool) []string {
	var out []string
	for _, m := range f.truth {
		if (app == "" || m.app == app) && (keep == nil || keep(m)) {
			out = append(out, m.id)
		}
	}
	slices.Sort(out)
	return out
}

// regions lists the regions of an app, in order.
func (f *federation) regions(app string) []string {
	var out []string
	for _, m := range f.truth {
		if m.app == app {
			out = append(out, m.region)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ask asks one router as the edge.
func (f *federation) ask(router string, args ...string) result {
	return f.run(append(append(args, "-o", "json", "--router", router), f.as("edge")...)...)
}

// where checks one router's lookup: the regions are those of the truth, the
// exit code is one of codes.
func (f *federation) where(router, app string, codes ...int) (coverage, error) {
	r := f.ask(router, "where", app)
	var a struct {
		Regions  []struct{ Region string }
		Coverage coverage
	}
	if err := json.Unmarshal([]byte(r.out), &a); err != nil {
		return nil, fmt.Errorf("where %s: %v", app, r)
	}
	var got []string
	for _, found := range a.Regions {
		got = append(got, found.Region)
	}
	slices.Sort(got)
	if !slices.Equal(got, f.regions(app)) || !slices.Contains(codes, r.code) {
		return nil, fmt.Errorf("where %s: want %v and exit %v: %v", app, f.regions(app), codes, r)
	}
	return a.Coverage, nil
}

const selectMachines = "SELECT id FROM fleet_machines WHERE state <> 'ended'"

// query checks one router's query of all regions: the rows are want, the exit
// code is one of codes.
func (f *federation) query(router string, want []string, codes ...int) (coverage, error) {
	r := f.ask(router, "query", selectMachines)
	var a struct {
		Rows     [][]string
		Coverage coverage
		Complete bool
	}
	if err := json.Unmarshal([]byte(r.out), &a); err != nil {
		return nil, fmt.Errorf("query: %v", r)
	}
	var got []string
	for _, row := range a.Rows {
		got = append(got, row...)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || !slices.Contains(codes, r.code) || a.Complete != (r.code == 0) {
		return nil, fmt.Errorf("query: want %v and exit %v: %v", want, codes, r)
	}
	return a.Coverage, nil
}

// watch checks that a watch of an app shows its machines and is complete.
func (f *federation) watch(router, app string) error {
	r := f.ask(router, "watch", app, "--once")
	var got []string
	for line := range strings.Lines(r.out) {
		var e struct {
			Event   string
			Machine struct{ ID string }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return fmt.Errorf("watch %s: %v: %v", app, err, r)
		}
		if e.Event == "machine" {
			got = append(got, e.Machine.ID)
		}
	}
	slices.Sort(got)
	if got = slices.Compact(got); r.code != 0 || !slices.Equal(got, f.ids(app, nil)) {
		return fmt.Errorf("watch %s: want %v: %v", app, f.ids(app, nil), r)
	}
	return nil
}

// edgeServes checks that the catalog has every machine.
func (f *federation) edgeServes() error {
	for _, app := range f.apps() {
		view, _ := f.edge.Lookup(app)
		var got []string
		for _, e := range view.Endpoints {
			got = append(got, e.Machine)
		}
		slices.Sort(got)
		if want := f.ids(app, nil); !slices.Equal(got, want) {
			return fmt.Errorf("catalog: app %s has %v, want %v", app, got, want)
		}
	}
	return nil
}

// complete checks that every answer is the whole truth, and says so.
func (f *federation) complete() error {
	for _, r := range f.routers {
		for _, app := range f.apps() {
			if _, err := f.where(r, app, 0); err != nil {
				return err
			}
			if err := f.watch(r, app); err != nil {
				return err
			}
		}
		if _, err := f.query(r, f.ids("", nil), 0); err != nil {
			return err
		}
	}
	return f.edgeServes()
}

// found checks that every answer is the whole truth, whether it can know that
// or not.
func (f *federation) found() error {
	for _, r := range f.routers {
		for _, app := range f.apps() {
			if _, err := f.where(r, app, 0, 4); err != nil {
				return err
			}
		}
		if _, err := f.query(r, f.ids("", nil), 0, 4); err != nil {
			return err
		}
	}
	return f.edgeServes()
}

// without checks that answers are partial for lack of one region, which they
// name; that it still counts as running what it ran; that the catalog keeps
// all.
func (f *federation) without(dead string) error {
	if err := f.edgeServes(); err != nil {
		f.t.Fatalf("step failed: an edge keeps the endpoints of a dead region: %v", err)
	}
	for _, r := range f.routers {
		for _, app := range f.apps() {
			c, err := f.where(r, app, 4)
			if err != nil {
				return err
			}
			if s := c[dead].State; s == "" || s == "live" || s == "pruned" {
				return fmt.Errorf("where %s: %s is %q", app, dead, s)
			}
		}
		c, err := f.query(r, f.ids("", func(m machine) bool { return m.region != dead }), 4)
		if err != nil {
			return err
		}
		for region, got := range c {
			if (got.State == "live") != (region != dead) {
				return fmt.Errorf("query: %s is %s (%s)", region, got.State, got.Detail)
			}
		}
	}
	return nil
}

// cold checks routers that started with no global node: they say that they
// answer from their last good map, and that the answer is partial.
func (f *federation) cold() error {
	for _, r := range f.routers {
		for _, app := range f.apps() {
			if _, err := f.where(r, app, 4); err != nil {
				return err
			}
		}
		if _, err := f.query(r, f.ids("", nil), 4); err != nil {
			return err
		}
		s := f.status("--router", r)
		if len(s) != 1 || !s[0].FromLastGood {
			return fmt.Errorf("router %s does not say that it runs from its last good map: %+v", r, s)
		}
	}
	return f.edgeServes()
}

// status is the part of `status -o json` that the tests look at.
type status struct {
	Name, Root string
	Answers    bool
	Gaps       uint64
	Withheld   uint64
	Machines   uint64
	Lanes      []struct {
		Region, Root   string
		Gaps, Withheld uint64
	}
	Members      []struct{ Node, State string }
	FromLastGood bool   `json:"from_last_good"`
	GlobalNode   string `json:"global_node"`
}

func (f *federation) status(where ...string) []status {
	r := f.run(append(append([]string{"status", "-o", "json"}, where...), f.as("ops")...)...)
	var a struct{ Nodes []status }
	_ = json.Unmarshal([]byte(r.out), &a) // what does not parse has no nodes
	return a.Nodes
}

// member checks the state in which a region node sees another.
func (f *federation) member(at, node, state string) error {
	s := f.status("--node", f.workers[at])
	for _, n := range s {
		for _, m := range n.Members {
			if m.Node == node && m.State == state {
				return nil
			}
		}
	}
	return fmt.Errorf("%s does not see %s as %s: %+v", at, node, state, s)
}

// notFollowed checks that every router follows some other global node.
func (f *federation) notFollowed(name string) error {
	for _, r := range f.routers {
		s := f.status("--router", r)
		if len(s) != 1 || s[0].GlobalNode == name || s[0].GlobalNode == "" {
			return fmt.Errorf("router %s: %+v", r, s)
		}
	}
	return nil
}

// equal checks that all nodes of each region, and all global nodes, hold the
// same, with nothing missing or withheld.
func (f *federation) equal() error {
	roots := map[string]string{} // of a region, and of a lane
	same := func(what, node, root string, gaps, withheld uint64) error {
		if first, ok := roots[what]; root == "" || ok && first != root || gaps+withheld > 0 {
			return fmt.Errorf("%s at %s: root %q, elsewhere %q; %d gaps, %d withheld", what, node, root, roots[what], gaps, withheld)
		}
		roots[what] = root
		return nil
	}
	var errs []error
	for name, addr := range f.workers {
		region, _, _ := strings.Cut(name, "/")
		s := f.status("--node", addr)
		if len(s) != 1 || !s[0].Answers {
			return fmt.Errorf("%s does not answer", name)
		}
		errs = append(errs, same("region "+region, name, s[0].Root, s[0].Gaps, s[0].Withheld))
	}
	for _, addr := range f.globals {
		s := f.status("--node", addr)
		if len(s) != 1 || len(s[0].Lanes) < 2 {
			return fmt.Errorf("global %s: %+v", addr, s)
		}
		for _, l := range s[0].Lanes {
			errs = append(errs, same("lane "+l.Region, addr, l.Root, l.Gaps, l.Withheld))
		}
	}
	return errors.Join(errs...)
}
