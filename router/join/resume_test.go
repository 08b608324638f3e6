package join_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/router/join"
	"github.com/firebreak-dev/firebreak/router/position"
)

func placed(m *regionv1.WatchResponse, p string) *regionv1.WatchResponse {
	m.Position = []byte(p)
	return m
}

func from(p string) position.Position {
	return position.Position{Region: "iad", App: "web", Gateway: 1, At: p}
}

func bookmark(id uint64, p string) *regionv1.WatchResponse {
	return placed(&regionv1.WatchResponse{Interest: id, Event: &regionv1.WatchResponse_Bookmark{Bookmark: &regionv1.WatchBookmark{}}}, p)
}

// held is a region that has settled on machines a and b, for one subscriber.
func held(t *testing.T) *join.Region {
	t.Helper()
	r := join.NewRegion("iad")
	r.Add(1, "web", at(0))
	r.Connected(1, at(0))
	feed(t, r, fit, begin(1), machine(1, "a", 1), machine(1, "b", 1), placed(synced(1), "p1"))
	r.Requests()
	return r
}

// kinds drains what a subscriber is owed, in short.
func kinds(r *join.Region, sub join.Sub, now time.Duration) []string {
	var out []string
	events, _ := r.Drain(sub, all, at(now))
	for _, e := range events {
		switch e.Kind {
		case join.Reset:
			out = append(out, "reset")
		case join.Known:
			out = append(out, "known "+string(e.Key.ID))
		case join.Upsert:
			out = append(out, "+"+string(e.Key.ID))
		case join.Gone:
			out = append(out, "-"+string(e.Key.ID))
		case join.Synced:
			out = append(out, "synced")
		case join.Moved:
			if p, _ := position.All(e.At); len(p) == 1 {
				out = append(out, "at "+p[0].At)
			}
		}
	}
	return out
}

func TestGatewaySaysWhatChangedSinceAPosition(t *testing.T) {
	r := held(t)
	r.Resume(2, from("p0"), at(0))
	reqs := r.Requests()
	if len(reqs) != 1 || string(reqs[0].GetAdd().GetPosition()) != "p0" {
		t.Fatalf("asked %v", reqs)
	}
	id := reqs[0].GetAdd().GetId()
	feed(t, r, machine(id, "b", 1), gone(id, "c", true))
	if got := kinds(r, 2, 0); got != nil {
		t.Errorf("before all was said: %v", got)
	}
	feed(t, r, placed(machine(1, "d", 1), "p2")) // comes between
	feed(t, r, synced(id))
	want := []string{"known a", "+b", "+d", "-c", "synced", "at p2"}
	if diff := cmp.Diff(want, kinds(r, 2, 0)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"remove 2"}, requests(r)); diff != "" {
		t.Error(diff)
	}
}

func TestEveryWayToLoseAPositionEndsInAList(t *testing.T) {
	list := []string{"reset", "+a", "+b", "synced", "at p1"}
	resync := &regionv1.WatchResponse{Interest: 2, Event: &regionv1.WatchResponse_Resync{Resync: &regionv1.WatchResync{}}}
	refused := &regionv1.WatchResponse{Interest: 2, Event: &regionv1.WatchResponse_Refused{Refused: &regionv1.WatchRefused{}}}
	other := from("p0")
	other.Gateway = 9
	for name, tc := range map[string]struct {
		from position.Position
		then func(*join.Region)
	}{
		"another gateway's":      {other, func(*join.Region) {}},
		"none":                   {from(""), func(*join.Region) {}},
		"off the gateway's line": {from("p0"), func(r *join.Region) { feed(t, r, resync) }},
		"refused":                {from("p0"), func(r *join.Region) { feed(t, r, refused) }},
		"answered with a list":   {from("p0"), func(r *join.Region) { feed(t, r, begin(2)) }},
		"answered with nonsense": {from("p0"), func(r *join.Region) { feed(t, r, machine(2, "", 1)) }},
		"answered with half a thing": {from("p0"), func(r *join.Region) {
			feed(t, r, &regionv1.WatchResponse{Interest: 2, Event: &regionv1.WatchResponse_Gone{}})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := held(t)
			r.Resume(2, tc.from, at(0))
			tc.then(r)
			if diff := cmp.Diff(list, kinds(r, 2, 0)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("not answered in time", func(t *testing.T) {
		r := held(t)
		r.Resume(2, from("p0"), at(0))
		for _, now := range []time.Duration{14 * time.Second, 16 * time.Second} {
			_ = r.Handle(fit, at(now))
			r.Tick(at(now))
		}
		if diff := cmp.Diff(list, kinds(r, 2, 16*time.Second)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestClientsThatComeBackTogetherCostABoundedNumberOfQuestions(t *testing.T) {
	r := held(t)
	for i := range 1000 {
		p := from("p0")
		if i >= 500 {
			p = from(string(rune('A' + i))) // each from somewhere else
		}
		r.Resume(join.Sub(i+2), p, at(0))
	}
	open := map[uint64]bool{}
	for rounds := 0; ; rounds++ {
		for _, req := range r.Requests() {
			if id := req.GetAdd().GetId(); id != 0 {
				open[id] = true
			}
		}
		if len(open) > 256 {
			t.Fatalf("%d questions at once", len(open))
		}
		if len(open) == 0 {
			if rounds < 2 {
				t.Errorf("all were asked in %d rounds", rounds)
			}
			break
		}
		for id := range open {
			delete(open, id)
			feed(t, r, synced(id))
		}
	}
	for i := range 1000 {
		if got := kinds(r, join.Sub(i+2), 0); len(got) != 4 || got[0] != "known a" {
			t.Fatalf("subscriber %d: %v", i, got)
		}
	}
}

func TestQuietPositionMovesOnNowAndThen(t *testing.T) {
	r := held(t)
	kinds(r, 1, 0)
	told := 0
	for i := range 60 {
		now := time.Duration(i) * time.Second
		_ = r.Handle(fit, at(now))
		_ = r.Handle(bookmark(1, "later"), at(now))
		got := kinds(r, 1, now)
		if len(got) > 0 {
			told++
			if diff := cmp.Diff([]string{"at later"}, got); diff != "" {
				t.Fatal(diff)
			}
		}
	}
	if told != 2 {
		t.Errorf("told %d times in a minute, want every 20 s", told)
	}
}

// What a gateway lists anew in the middle of a stream is all that there is.
func TestWhatAResyncInTheMiddleOfAStreamLacksGoes(t *testing.T) {
	r := held(t)
	kinds(r, 1, 0)
	feed(t, r, &regionv1.WatchResponse{Interest: 1, Event: &regionv1.WatchResponse_Resync{Resync: &regionv1.WatchResync{}}},
		begin(1), machine(1, "b", 1), placed(synced(1), "p9"))
	if diff := cmp.Diff([]string{"-a", "synced", "at p9"}, kinds(r, 1, 0)); diff != "" {
		t.Error(diff)
	}
}

// A row that could not be read is not passed over by the next stream.
func TestStreamAfterABadRowBeginsAnew(t *testing.T) {
	r := held(t)
	bad := machine(1, "x", 1)
	bad.GetMachine().App = "db"
	_ = r.Handle(bad, at(0))
	feed(t, r, placed(machine(1, "c", 1), "p2"))
	r.Lost("cut", at(0))
	r.Connected(1, at(0))
	if reqs := r.Requests(); len(reqs) != 1 || reqs[0].GetAdd().GetPosition() != nil {
		t.Errorf("asked %v", reqs)
	}
}

// What came after the last position may have gone since without a word.
func TestStreamAfterHalfABatchBeginsAnew(t *testing.T) {
	r := held(t)
	feed(t, r, machine(1, "c", 1)) // its batch would have ended with a position
	r.Lost("cut", at(0))
	r.Connected(1, at(0))
	if reqs := r.Requests(); len(reqs) != 1 || reqs[0].GetAdd().GetPosition() != nil {
		t.Errorf("asked %v", reqs)
	}
}

// While there is no stream a client that comes back holds what it has.
func TestResumeOutlivesTheStreamThatItWasAskedOn(t *testing.T) {
	r := held(t)
	r.Resume(2, from("p0"), at(0))
	r.Requests()
	r.Lost("cut", at(0))
	if got := kinds(r, 2, time.Minute); got != nil {
		t.Errorf("without a stream: %v", got)
	}
	r.Connected(1, at(time.Minute))
	_ = r.Handle(fit, at(time.Minute))
	_ = r.Handle(placed(synced(1), "p1"), at(time.Minute))
	id := uint64(0)
	for _, req := range r.Requests() {
		if string(req.GetAdd().GetPosition()) == "p0" {
			id = req.GetAdd().GetId()
		}
	}
	if id == 0 {
		t.Fatal("it is not asked again")
	}
	_ = r.Handle(synced(id), at(time.Minute))
	if diff := cmp.Diff([]string{"known a", "known b", "synced", "at p1"}, kinds(r, 2, time.Minute)); diff != "" {
		t.Error(diff)
	}
}
