package fault

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// nodes is a federation that notes what is done to it.
type nodes struct {
	plan federation.Plan

	mu   sync.Mutex
	did  []string
	down map[string]federation.Node
}

func (f *nodes) note(what string, n federation.Node, down bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, what+" "+n.String())
	if down {
		f.down[n.String()] = n
	} else {
		delete(f.down, n.String())
	}
	return nil
}

func (f *nodes) Plan() federation.Plan                              { return f.plan }
func (f *nodes) Kill(_ context.Context, n federation.Node) error    { return f.note("kill", n, true) }
func (f *nodes) Stop(_ context.Context, n federation.Node) error    { return f.note("stop", n, true) }
func (f *nodes) Start(_ context.Context, n federation.Node) error   { return f.note("start", n, false) }
func (f *nodes) WaitReady(context.Context, []federation.Node) error { return nil }
func (f *nodes) Down() (out []federation.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.down {
		out = append(out, n)
	}
	return out
}

// workers notes what daemons are offered, and makes it true.
type workers struct {
	places []truth.Place
	truth  *truth.Model
	storm  chan struct{} // closed at the first change of a storm

	mu    sync.Mutex
	ended map[truth.Place]int
	once  sync.Once
}

func (w *workers) Offer(_ context.Context, worker int, changes ...daemon.Change) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.places[worker]
	for _, c := range changes {
		if c.Gone {
			w.truth.End(at, c.ID)
			w.ended[at]++
			continue
		}
		w.truth.Put(truth.Machine{Place: at, ID: c.ID, App: c.App})
		w.once.Do(func() { close(w.storm) })
	}
	return nil
}

type world struct {
	*Engine
	fleet   *nodes
	workers *workers
	sample  Sample
	said    []string
	bug     bug
}

func start(t *testing.T, s federation.Spec) *world {
	t.Helper()
	p := plan(t, s)
	w := &world{fleet: &nodes{plan: p, down: map[string]federation.Node{}}}
	w.workers = &workers{places: p.Places(), truth: truth.New(), storm: make(chan struct{}), ended: map[truth.Place]int{}}
	w.sample = Sample{Nodes: map[string]Count{}}
	w.Engine = New(Config{
		Fleet: w.fleet, Links: link.New(link.Config{}), Sink: w.workers, Truth: w.workers.truth, Rate: 20,
		Sample: func(context.Context) Sample { return w.sample }, Bug: w,
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) must(t *testing.T, command string) {
	t.Helper()
	c, err := Parse(strings.Fields(command))
	if err == nil {
		err = w.Do(t.Context(), c, func(line string) { w.said = append(w.said, line) })
	}
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
}

func TestWhatWasKilledIsStartedByHeal(t *testing.T) {
	w := start(t, spec())
	w.must(t, "kill region iad")
	slices.Sort(w.fleet.did)
	if diff := cmp.Diff([]string{"kill iad/iad-1", "kill iad/iad-2"}, w.fleet.did); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := strings.Join(w.said, "\n"); !strings.Contains(got, "should stay unaffected: rows, restarts and requests in ams") {
		t.Errorf("it said %s", got)
	}
	if len(w.Active()) != 1 {
		t.Errorf("active %v", w.Active())
	}
	w.must(t, "heal")
	if len(w.fleet.Down()) != 0 || len(w.Active()) != 0 {
		t.Errorf("down %v, active %v", w.fleet.Down(), w.Active())
	}
}

func TestARollingUpgradeRestartsOneNodeAtATime(t *testing.T) {
	w := start(t, spec())
	w.must(t, "upgrade region ams")
	want := []string{"stop ams/ams-1", "start ams/ams-1", "stop ams/ams-2", "start ams/ams-2"}
	if diff := cmp.Diff(want, w.fleet.did); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMassDeleteEndsTheMachinesOfItsRegionAlone(t *testing.T) {
	for _, s := range []federation.Spec{spec(), spec().Flat()} {
		w := start(t, s)
		for i, p := range w.workers.places {
			for range i + 1 {
				w.workers.truth.Put(truth.Machine{Place: p, ID: fleet.MachineID(p.String() + string(rune('a'+i))), App: "web"})
			}
		}
		w.must(t, "mass-delete region iad")
		for _, m := range w.workers.truth.Snapshot() {
			if strings.HasPrefix(string(m.Worker), "iad") {
				t.Errorf("%v is still there", m)
			}
		}
		if left := len(w.workers.truth.Snapshot()); left != 2 {
			t.Errorf("%d machines are left, want those of the two others", left)
		}
	}
}

func TestAStormEndsAtHealAndLeavesNothing(t *testing.T) {
	w := start(t, spec())
	w.must(t, "storm region iad")
	select {
	case <-w.workers.storm:
	case <-time.After(10 * time.Second):
		t.Fatal("no storm")
	}
	w.must(t, "heal")
	if left := w.workers.truth.Snapshot(); len(left) != 0 {
		t.Errorf("it left %v", left)
	}
	w.must(t, "storm region iad") // a second one, after the first has ended
	w.must(t, "heal")
}

func TestRulesOfTheLinksAreOfTheirTarget(t *testing.T) {
	p := plan(t, spec())
	for _, c := range []struct {
		command  string
		from, to link.Node
		want     bool
	}{
		{"partition region iad", "iad/iad-1", "global/global-1", true},
		{"partition region iad", "global/global-1", "iad/iad-1", true},
		{"partition region iad", "iad/iad-1", "iad/iad-2", false},
		{"partition region iad", "ams/ams-1", "global/global-1", false},
		{"partition node iad/iad-1", "iad/iad-1", "iad/iad-2", true},
		{"delay region iad 5ms", "iad/iad-1", "iad/iad-2", true},
		{"delay region iad 5ms", "ams/ams-1", "ams/ams-2", false},
		{"loss globals 5%", "global/global-1", "global/global-2", true},
	} {
		cmd, err := Parse(strings.Fields(c.command))
		if err != nil {
			t.Fatal(err)
		}
		in, err := cmd.Target.Resolve(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := cmd.rule(in).Holds(c.from, c.to); got != c.want {
			t.Errorf("%s: %s to %s: %v, want %v", c.command, c.from, c.to, got, c.want)
		}
	}
}

func TestEveryWayToTouchAnotherRegionFailsTheVerdict(t *testing.T) {
	for name, change := range map[string]func(*Count){
		"rows that no daemon of it asked for": func(c *Count) { c.Unasked = 1 },
		"nodes ended":                         func(c *Count) { c.Restarts++ },
		"deliveries were rejected":            func(c *Count) { c.ApplyErrors++ },
		"records are withheld":                func(c *Count) { c.Withheld++ },
		"requests failed":                     func(c *Count) { c.Errors++ },
		"bytes more than its traffic":         func(c *Count) { c.Bytes = 1 + bytesAnyway + c.Rows*bytesPerRow },
	} {
		for _, where := range []string{"iad/iad-2", "ams/ams-2"} {
			w := start(t, spec())
			w.sample.Nodes["ams/ams-2"] = Count{Rows: 10, Restarts: 1}
			w.must(t, "kill region iad")
			after := Sample{Nodes: map[string]Count{"ams/ams-2": {Rows: 20, Restarts: 1}}}
			c := after.Nodes[where]
			change(&c)
			after.Nodes[where] = c
			w.sample = after
			v := w.Judge(t.Context(), time.Now())[0]
			if ok := where == "iad/iad-2"; v.OK != ok || !ok && !(strings.HasPrefix(v.Detail, "region ams was touched: ") && strings.Contains(v.Detail, name)) {
				t.Errorf("%s in %s: ok %v, %s", name, where, v.OK, v.Detail)
			}
			if len(v.Touched) != 1 || v.Regions["ams"].Rows != 10 {
				t.Errorf("%s in %s: touched %v, %+v", name, where, v.Touched, v.Regions)
			}
		}
	}
}

func TestAFaultOfGlobalMayTouchNoRegion(t *testing.T) {
	w := start(t, spec())
	w.must(t, "kill globals")
	w.sample = Sample{Nodes: map[string]Count{"iad/iad-1": {Restarts: 1}}}
	if v := w.Judge(t.Context(), time.Now())[0]; v.OK || !slices.Equal(v.Scope, []string{"globals"}) {
		t.Errorf("%+v", v)
	}
}

func TestAFaultAnswersForItselfUntilTheNextOneAfterItsHeal(t *testing.T) {
	w := start(t, spec())
	w.must(t, "kill region iad")
	w.must(t, "heal")
	w.must(t, "kill region ams")
	w.sample = Sample{Nodes: map[string]Count{"ams/ams-1": {Restarts: 1}}}
	for _, v := range w.Judge(t.Context(), time.Now()) {
		if !v.OK {
			t.Errorf("%s: %s", v.Fault, v.Detail)
		}
	}
	w.must(t, "kill globals") // while ams is down
	w.sample = Sample{Nodes: map[string]Count{"ams/ams-1": {Restarts: 2}}}
	for _, v := range w.Judge(t.Context(), time.Now()) {
		if !v.OK {
			t.Errorf("%s: %s", v.Fault, v.Detail)
		}
	}
}

func TestNodesTouchedAreThoseThatTakeRowsOfTheFaulted(t *testing.T) {
	for _, c := range []struct {
		spec    federation.Spec
		nodes   int
		written int64
	}{{spec(), 2, 8}, {spec().Flat(), 4, 16}} {
		w := start(t, c.spec)
		w.must(t, "mass-delete region iad")
		after := Sample{Nodes: map[string]Count{}}
		for _, n := range w.fleet.plan.Of(federation.Region) {
			owners := map[string]int64{}
			for _, o := range w.fleet.plan.In(n.Region) {
				owners[nameOf(o)] = 2
				if n.Where() == "iad" && o.Where() == "iad" {
					owners[nameOf(o)] = 2
				}
			}
			after.Nodes[nameOf(n)] = Count{Owners: owners}
		}
		w.sample = after
		if v := w.Judge(t.Context(), time.Now())[0]; v.Nodes != c.nodes || v.Written != c.written {
			t.Errorf("%d nodes took %d rows, want %d and %d", v.Nodes, v.Written, c.nodes, c.written)
		}
	}
}

func TestABadCommandIsRefusedAndOneAfterTheEndToo(t *testing.T) {
	w := start(t, spec())
	c := Command{Kind: Kill, Target: Target{Region: "lhr"}}
	if err := w.Do(t.Context(), c, func(string) {}); err == nil {
		t.Error("a region that does not exist was killed")
	}
	e := New(w.cfg)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := e.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := e.Do(t.Context(), Command{Kind: Heal}, func(string) {}); !errors.Is(err, errStopped) {
		t.Errorf("after the end: %v", err)
	}
}

func TestTheMeterCountsChangesAndNotRepetitions(t *testing.T) {
	p := plan(t, spec())
	m := &Meter{Plan: p, Ends: func(federation.Node) int { return 0 }, Told: func(fleet.Region) int64 { return 2 }}
	at := p.At("iad")[1].Place()
	for _, content := range []uint64{1, 2, 2, 3} {
		m.Row(at, "iad-1", "a", content)
	}
	s := m.Sample(t.Context())
	c := s.Nodes["iad/iad-2"]
	if c.Rows != 3 || c.Owners["iad/iad-1"] != 3 || s.Nodes["iad/iad-1"].Unasked != 1 {
		t.Errorf("%+v", s.Nodes)
	}
}

func TestMetricsAreRead(t *testing.T) {
	c, err := parseMetrics(strings.NewReader(`# HELP firebreak_mesh_bytes_sent_total Bytes.
firebreak_mesh_bytes_sent_total{class="a"} 1.5e+03
firebreak_mesh_bytes_sent_total{class="b c"} 2
firebreak_store_deliveries_total{lane="",outcome="applied"} 7
firebreak_store_deliveries_total{lane="",outcome="rejected"} 3
firebreak_store_withheld_records{lane=""} 4
go_goroutines 9
`))
	if err != nil || c.Bytes != 1502 || c.ApplyErrors != 3 || c.Withheld != 4 {
		t.Errorf("%+v, %v", c, err)
	}
}
