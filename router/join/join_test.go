package join_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/coverage"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router/directory"
	"github.com/firebreak-dev/firebreak/router/join"
)

func at(d time.Duration) directory.Instant {
	return directory.Instant{Wall: int64(1_700_000_000*time.Second) + int64(d), Mono: time.Hour + d}
}

func status(s clusterv1.CoverageState) *regionv1.WatchResponse {
	return &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Status{Status: &regionv1.WatchStatus{Coverage: &clusterv1.Coverage{State: s}}}}
}

var (
	fit   = status(clusterv1.CoverageState_COVERAGE_STATE_LIVE)
	unfit = status(clusterv1.CoverageState_COVERAGE_STATE_STALE)
)

func begin(id uint64) *regionv1.WatchResponse {
	return &regionv1.WatchResponse{Interest: id, Event: &regionv1.WatchResponse_Snapshot{Snapshot: &regionv1.WatchSnapshot{}}}
}

func synced(id uint64) *regionv1.WatchResponse {
	return &regionv1.WatchResponse{Interest: id, Event: &regionv1.WatchResponse_Synced{Synced: &regionv1.WatchSynced{}}}
}

func machine(id uint64, name string, epoch uint64) *regionv1.WatchResponse {
	return &regionv1.WatchResponse{Interest: id, Event: &regionv1.WatchResponse_Machine{
		Machine: &regionv1.Machine{
			Worker: "w1", Id: name, App: "web", Epoch: epoch, Current: true, Routable: true,
			State: regionv1.MachineState_MACHINE_STATE_STARTED,
		},
	}}
}

func gone(id uint64, name string, ended bool) *regionv1.WatchResponse {
	return &regionv1.WatchResponse{Interest: id, Event: &regionv1.WatchResponse_Gone{Gone: &regionv1.MachineGone{Worker: "w1", Id: name, Ended: ended}}}
}

func feed(t *testing.T, r *join.Region, msgs ...*regionv1.WatchResponse) {
	t.Helper()
	for _, m := range msgs {
		if err := r.Handle(m, at(0)); err != nil {
			t.Fatal(err)
		}
	}
}

// reader keeps what a subscriber is told.
type reader struct {
	machines map[string]uint64 // id: epoch
	state    coverage.State
	synced   int
	paid     int
}

func (c *reader) read(r *join.Region, sub join.Sub, limit int) {
	if c.machines == nil {
		c.machines = map[string]uint64{}
	}
	for more := true; more; {
		var events []join.Event
		events, more = r.Drain(sub, limit, at(0))
		for _, e := range events {
			c.paid++
			switch e.Kind {
			case join.Upsert:
				c.machines[string(e.Key.ID)] = e.Machine.GetEpoch()
			case join.Gone:
				delete(c.machines, string(e.Key.ID))
			case join.Status:
				c.state = e.Part.State
			case join.Synced:
				c.synced++
			}
		}
		if limit < 1000 {
			return // one turn
		}
	}
}

const all = 1 << 20

// requests gives what was asked of the region: "add 3", "remove 3".
func requests(r *join.Region) []string {
	var out []string
	for _, req := range r.Requests() {
		switch {
		case req.GetAdd() != nil:
			out = append(out, fmt.Sprint("add ", req.GetAdd().GetId()))
		case req.GetRemove() != 0:
			out = append(out, fmt.Sprint("remove ", req.GetRemove()))
		}
	}
	return out
}

func TestInterestLivesAsLongAsItsWatchers(t *testing.T) {
	r := join.NewRegion("iad")
	r.Connected(1, at(0))
	r.Add(1, "web", at(0))
	r.Add(2, "web", at(0))
	if diff := cmp.Diff([]string{"add 1"}, requests(r)); diff != "" {
		t.Error(diff)
	}
	r.Remove(1, "web")
	if got := requests(r); got != nil {
		t.Errorf("with a watcher left: %v", got)
	}
	r.Leave(2)
	if diff := cmp.Diff([]string{"remove 1"}, requests(r)); diff != "" {
		t.Error(diff)
	}
	if r.Apps() != 0 {
		t.Error("an app is kept that nobody watches")
	}
}

func TestEveryStreamAsksAgainFromWhereItStood(t *testing.T) {
	r := join.NewRegion("iad")
	r.Add(1, "web", at(0))
	r.Connected(1, at(0))
	r.Requests()
	m := machine(1, "a", 1)
	m.Position = []byte("p1")
	feed(t, r, begin(1), m, synced(1), fit)
	r.Lost("gone", at(0))
	r.Connected(1, at(0))
	reqs := r.Requests()
	if len(reqs) != 1 || string(reqs[0].GetAdd().GetPosition()) != "p1" {
		t.Errorf("%v", reqs)
	}
	var c reader
	feed(t, r, fit, synced(1)) // resumed: no snapshot
	c.read(r, 1, all)
	if diff := cmp.Diff(map[string]uint64{"a": 1}, c.machines); diff != "" {
		t.Error(diff)
	}
	if c.state != coverage.Live {
		t.Errorf("state %v", c.state)
	}
}

func TestWhoMayTakeAMachineAway(t *testing.T) {
	for _, tc := range []struct {
		name string
		msgs []*regionv1.WatchResponse
		want []string
		reqs []string
	}{
		{"a complete snapshot of a fit gateway", []*regionv1.WatchResponse{fit, begin(1), machine(1, "b", 1), synced(1)}, []string{"b"}, nil},
		{"a snapshot that is not complete", []*regionv1.WatchResponse{fit, begin(1), machine(1, "b", 1)}, []string{"a", "b"}, nil},
		{"an unfit gateway", []*regionv1.WatchResponse{unfit, begin(1), synced(1)}, []string{"a"}, nil},
		{"its becoming fit, before a new snapshot", []*regionv1.WatchResponse{unfit, begin(1), synced(1), fit}, []string{"a"}, []string{"remove 1", "add 2"}},
		{"that snapshot", []*regionv1.WatchResponse{unfit, begin(1), synced(1), fit, begin(2), synced(2)}, []string{}, []string{"remove 1", "add 2"}},
		{"its owner, by an unfit gateway", []*regionv1.WatchResponse{unfit, gone(1, "a", true)}, []string{}, nil},
		{"an unfit gateway that lost sight of it", []*regionv1.WatchResponse{unfit, gone(1, "a", false)}, []string{"a"}, nil},
		{"a fit one that says it is none of the app", []*regionv1.WatchResponse{fit, gone(1, "a", false)}, []string{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := join.NewRegion("iad")
			r.Add(1, "web", at(0))
			r.Connected(1, at(0))
			feed(t, r, fit, begin(1), machine(1, "a", 1), synced(1))
			r.Lost("killed", at(0))
			r.Connected(1, at(0))
			r.Requests()
			var c reader
			feed(t, r, tc.msgs...)
			c.read(r, 1, all)
			if got := slices.Sorted(maps.Keys(c.machines)); !slices.Equal(got, tc.want) {
				t.Errorf("left %v, want %v", got, tc.want)
			}
			if diff := cmp.Diff(tc.reqs, requests(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSlowSubscriberOwesOneEventPerMachine(t *testing.T) {
	r := join.NewRegion("iad")
	r.Add(1, "web", at(0))
	r.Connected(1, at(0))
	feed(t, r, fit, begin(1), synced(1))
	var c reader
	c.read(r, 1, all)
	c.paid = 0
	for i := range 10_000 {
		feed(t, r, machine(1, fmt.Sprint("m", i%3), uint64(i)))
	}
	c.read(r, 1, all)
	if c.paid != 3 || c.machines["m0"] != 9999 {
		t.Errorf("%d events, m0 at %d", c.paid, c.machines["m0"])
	}
}

func TestIdenticalMachineIsNoEvent(t *testing.T) {
	r := join.NewRegion("iad")
	r.Add(1, "web", at(0))
	r.Connected(1, at(0))
	feed(t, r, fit, begin(1), machine(1, "a", 1), synced(1))
	var c reader
	c.read(r, 1, all)
	c.paid = 0
	feed(t, r, begin(1), machine(1, "a", 1), machine(1, "a", 1))
	c.read(r, 1, all)
	if c.machines["a"] != 1 || c.paid > 1 {
		t.Errorf("%d events for what is as it was", c.paid)
	}
}

func TestMalformedMessageMarksItsApp(t *testing.T) {
	r := join.NewRegion("iad")
	r.Add(1, "web", at(0))
	r.Add(1, "db", at(0))
	r.Connected(1, at(0))
	feed(t, r, fit, begin(1), machine(1, "a", 1), synced(1))
	bad := machine(1, "b", 1)
	bad.GetMachine().App = "db"
	for _, m := range []*regionv1.WatchResponse{bad, machine(1, "", 1), {Interest: 1, Event: &regionv1.WatchResponse_Machine{}}} {
		if err := r.Handle(m, at(0)); err == nil {
			t.Errorf("%v was taken", m)
		}
	}
	var c reader
	c.read(r, 1, all)
	if _, ok := c.machines["a"]; !ok {
		t.Error("what was good went with it")
	}
	for _, m := range []*regionv1.WatchResponse{{}, {Interest: 99}, {Interest: 1}, {Interest: 1, Event: &regionv1.WatchResponse_Gone{}}} {
		_ = r.Handle(m, at(0)) // whatever it is, it is no panic
	}
}

// Whatever order of streams, snapshots, turns and churn: once the region is
// fit and synced and the readers have read, they know exactly what it has.
func TestReadersConvergeInRandomHistories(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		r := join.NewRegion("iad")
		readers := map[join.Sub]*reader{1: {}, 2: {}}
		truth := map[string]uint64{}
		var id uint64
		connected := false
		snapshot := func() {
			_ = r.Handle(begin(id), at(0))
			for _, m := range slices.Sorted(maps.Keys(truth)) {
				_ = r.Handle(machine(id, m, truth[m]), at(0))
			}
			_ = r.Handle(synced(id), at(0))
		}
		answer := func() { // the region serves what it is asked
			for _, req := range r.Requests() {
				if req.GetAdd() != nil {
					id = req.GetAdd().GetId()
					snapshot()
				}
			}
		}
		for _, sub := range []join.Sub{1, 2} {
			r.Add(sub, "web", at(0))
		}
		for range 200 {
			name := fmt.Sprint("m", rng.IntN(5))
			switch rng.IntN(8) {
			case 0:
				r.Connected(1, at(0))
				connected = true
				_ = r.Handle([]*regionv1.WatchResponse{fit, unfit}[rng.IntN(2)], at(0))
				answer()
			case 1:
				r.Lost("cut", at(0))
				connected = false
			case 2, 3:
				truth[name] = uint64(rng.IntN(1000))
				if connected {
					_ = r.Handle(machine(id, name, truth[name]), at(0))
				}
			case 4:
				delete(truth, name)
				if connected {
					_ = r.Handle(gone(id, name, rng.IntN(2) == 0), at(0))
				}
			case 5:
				if connected {
					_ = r.Handle([]*regionv1.WatchResponse{fit, unfit}[rng.IntN(2)], at(0))
					answer()
				}
			default:
				sub := join.Sub(1 + rng.IntN(2))
				readers[sub].read(r, sub, 1+rng.IntN(3))
			}
		}
		r.Lost("end", at(0))
		r.Connected(1, at(0))
		_ = r.Handle(fit, at(0))
		answer()
		answer()
		for sub, c := range readers {
			c.read(r, sub, all)
			if diff := cmp.Diff(truth, c.machines); diff != "" || c.state != coverage.Live {
				t.Fatalf("seed %d, reader %d, %v: %s", seed, sub, c.state, diff)
			}
		}
	}
}

func yes() bool { return true }

func no() bool { return false }

func standing(region fleet.Region, class int, s coverage.State) directory.Standing {
	st := directory.Standing{Region: region, Part: coverage.Part{Region: region, State: s}}
	if class > 0 {
		st.Class = 1
	}
	return st
}

// told lists what a client was sent, in short.
func told(s *join.Session) []string {
	var out []string
	for _, resp := range s.Take() {
		what := ""
		switch e := resp.GetEvent().(type) {
		case *routerv1.WatchResponse_Machine:
			what = "machine " + e.Machine.GetId()
		case *routerv1.WatchResponse_Gone:
			what = "gone " + e.Gone.GetId()
		case *routerv1.WatchResponse_Status:
			what = "status " + coverage.FromProto(e.Status.GetCoverage()).State.String()
		case *routerv1.WatchResponse_AppSynced:
			what = fmt.Sprint("app synced ", e.AppSynced.GetComplete())
		case *routerv1.WatchResponse_Reset_:
			what = "reset"
		case *routerv1.WatchResponse_List:
			what = fmt.Sprint("list ", e.List.GetCurrent(), " ", e.List.GetAgeMs())
		case *routerv1.WatchResponse_Synced:
			what = "synced"
		}
		out = append(out, resp.GetRegion()+" "+what)
	}
	return out
}

func TestWithdrawnRegionIsLeftOnceItsOwnWordAllows(t *testing.T) {
	m := machine(1, "a", 1).GetMachine()
	key := join.Key{Worker: "w1", ID: "a"}
	up := []join.Event{{App: "web", Kind: join.Upsert, Key: key, Machine: m}, {App: "web", Kind: join.Status, Part: coverage.Part{Region: "iad", State: coverage.Live}}}
	lost := []join.Event{{App: "web", Kind: join.Status, Part: coverage.Part{Region: "iad", State: coverage.Stale}}}
	for _, tc := range []struct {
		name   string
		events [][]join.Event
		st     directory.Standing
		want   join.Change
	}{
		{"its watch is live and shows a machine", [][]join.Event{up}, standing("iad", 0, coverage.Pruned), join.Nothing},
		{"its watch showed the end", [][]join.Event{up, {{App: "web", Kind: join.Gone, Key: key, Ended: true}}}, standing("iad", 0, coverage.PrunedStale), join.Nothing},
		{"its watch showed the end, and that is proven", [][]join.Event{up, {{App: "web", Kind: join.Gone, Key: key, Ended: true}}}, standing("iad", 0, coverage.Pruned), join.Unsubscribe},
		{"nothing is left, and the region neither", [][]join.Event{up, {{App: "web", Kind: join.Gone, Key: key, Ended: true}}}, standing("iad", 0, coverage.Unreachable), join.Unsubscribe},
		{"its watch is lost, and its withdrawal proven", [][]join.Event{up, lost}, standing("iad", 0, coverage.Pruned), join.Unsubscribe},
		{"its watch is lost, and its withdrawal not proven", [][]join.Event{up, lost}, standing("iad", 0, coverage.PrunedStale), join.Nothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := join.NewSession()
			s.AddApp("web", at(0))
			if got := s.Stand("web", standing("iad", 1, coverage.Live), yes); got != join.Subscribe {
				t.Fatal(got)
			}
			for _, e := range tc.events {
				s.Handle("iad", e)
			}
			told(s)
			if got := s.Stand("web", tc.st, yes); got != tc.want {
				t.Errorf("change %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAppIsAnnouncedWhenEveryRegionSpokeOrIsMarked(t *testing.T) {
	s := join.NewSession()
	s.AddApp("web", at(0))
	s.Stand("web", standing("iad", 1, coverage.Live), yes)
	announce := func(d time.Duration) []string {
		s.Announce([]fleet.Region{"ams", "iad"}, 0, func(r fleet.Region, _ fleet.App) directory.Standing {
			return standing(r, 0, coverage.Pruned)
		}, at(d))
		return told(s)
	}
	if got := announce(0); got != nil {
		t.Errorf("before the region spoke: %v", got)
	}
	s.Handle("iad", []join.Event{
		{App: "web", Kind: join.Reset}, {App: "web", Kind: join.Status, Part: coverage.Part{Region: "iad", State: coverage.Live}}, {App: "web", Kind: join.Synced},
	})
	want := []string{"iad reset", "iad status live", "iad synced", " app synced true"}
	if diff := cmp.Diff(want, announce(0)); diff != "" {
		t.Error(diff)
	}
	s.AddApp("db", at(0))
	s.Stand("db", standing("iad", 1, coverage.Live), yes)
	if diff := cmp.Diff([]string{" app synced false"}, announce(3*time.Second)); diff != "" {
		t.Errorf("a region that never speaks: %s", diff)
	}
}

func TestEndOfOneClaimIsToldToTheOther(t *testing.T) {
	s := join.NewSession()
	s.AddApp("web", at(0))
	for _, r := range []fleet.Region{"ams", "iad"} {
		s.Stand("web", standing(r, 1, coverage.Live), yes)
		s.Handle(r, []join.Event{{App: "web", Kind: join.Upsert, Key: join.Key{Worker: "w1", ID: "a"}, Machine: machine(1, "a", 1).GetMachine()}})
	}
	if diff := cmp.Diff([]string{"ams machine a", "ams machine a", "iad machine a"}, told(s)); diff != "" {
		t.Errorf("the first claim is told again, as contested: %s", diff)
	}
	s.Handle("ams", []join.Event{{App: "web", Kind: join.Gone, Key: join.Key{Worker: "w1", ID: "a"}, Ended: true}})
	if diff := cmp.Diff([]string{"ams gone a", "iad machine a"}, told(s)); diff != "" {
		t.Error(diff)
	}
}
