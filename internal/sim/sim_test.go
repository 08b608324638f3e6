package sim_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/sim"
)

func TestEventsComeInOrderOfTimeAndThenOfAsking(t *testing.T) {
	w := sim.New(1)
	var got []int
	for i, at := range []time.Duration{3, 1, 1, 0} {
		w.At(at, nil, func() { got = append(got, i) })
	}
	if err := w.Run(2); err != nil || fmt.Sprint(got) != "[3 1 2]" || w.Now() != 2 {
		t.Errorf("got %v at %v, %v", got, w.Now(), err)
	}
}

func TestWhatIsMeantForALifeThatIsOverDoesNotHappen(t *testing.T) {
	w, l := sim.New(1), &sim.Life{}
	w.At(1, nil, l.End)
	w.At(2, l, func() { t.Error("it happened") })
	_ = w.Run(3)
}

func TestTheFirstErrorOfACheckEndsTheRun(t *testing.T) {
	w := sim.New(1)
	broken, n := errors.New("broken"), 0
	w.AfterEach(func() error {
		if n == 2 {
			return broken
		}
		return nil
	})
	for range 5 {
		w.At(1, nil, func() { n++ })
	}
	if err := w.Run(2); !errors.Is(err, broken) || n != 2 {
		t.Errorf("%v after %d", err, n)
	}
}

// Streams of different names are independent: what one link draws changes
// nothing on another.
func TestStreamsDependOnTheirNamesAlone(t *testing.T) {
	a, b := sim.New(7), sim.New(7)
	for range 10 {
		b.Stream("other").Uint64()
	}
	if a.Stream("x").Uint64() != b.Stream("x").Uint64() {
		t.Error("a stream depends on another")
	}
	if a.Stream("x").Uint64() == a.Stream("y").Uint64() || sim.New(8).Stream("x").Uint64() == sim.New(7).Stream("x").Uint64() {
		t.Error("streams are equal")
	}
}

var queues = map[string]int{"push": 100}

// send sends n frames of 10 bytes and returns which came, in order.
func send(n int, wx sim.Weather) ([]int, *sim.Network) {
	w := sim.New(3)
	net := sim.NewNetwork(w, queues)
	net.SetWeather(wx)
	var got []int
	for i := range n {
		net.Send("a", "b", &sim.Life{}, sim.Flow{Class: "push"}, 10, func() { got = append(got, i) })
	}
	_ = w.Run(time.Hour)
	return got, net
}

func TestEveryFrameComesToAFate(t *testing.T) {
	got, net := send(1000, sim.Weather{Loss: 0.2, Duplicate: 0.2, Delay: time.Second, Jitter: time.Second})
	f := net.Fates
	if f[sim.Lost] < 100 || f[sim.Repeated] < 100 || int(f[sim.Delivered]) != len(got) || net.Unexplained(1000) != 0 {
		t.Errorf("%d came, %v, %d unexplained", len(got), f, net.Unexplained(1000))
	}
	if net.Unexplained(1001) == 0 {
		t.Error("a frame that was never sent is explained")
	}
}

func TestFramesOfAFlowKeepTheirOrderUnlessReordered(t *testing.T) {
	rising := func(got []int) bool {
		for i := 1; i < len(got); i++ {
			if got[i] < got[i-1] {
				return false
			}
		}
		return true
	}
	if got, _ := send(200, sim.Weather{Jitter: time.Second}); len(got) != 200 || !rising(got) {
		t.Error("frames overtook each other")
	}
	if got, _ := send(200, sim.Weather{Jitter: time.Second, Reorder: 1}); len(got) != 200 || rising(got) {
		t.Error("no frame overtook another")
	}
}

func TestAFullQueueRefuses(t *testing.T) {
	got, net := send(30, sim.Weather{Rate: 10})
	if len(got) != 10 || net.Fates[sim.Refused] != 20 || net.Peak("push") != 100 {
		t.Errorf("%d came, %v, peak %d", len(got), net.Fates, net.Peak("push"))
	}
}

func TestCutsAreOneWayAndReachWhatIsUnderWay(t *testing.T) {
	w := sim.New(1)
	net := sim.NewNetwork(w, queues)
	net.SetWeather(sim.Weather{Delay: time.Second})
	got := ""
	try := func(from, to string) {
		net.Send(from, to, &sim.Life{}, sim.Flow{Class: "push"}, 1, func() { got += from + to })
	}
	try("a", "b")
	net.Cut("a", "b")
	try("b", "a")
	_ = w.Run(time.Minute)
	if got != "ba" || net.Fates[sim.Cut] != 1 {
		t.Errorf("%q came, %v", got, net.Fates)
	}
}

func TestAServerDoesOneThingAtATime(t *testing.T) {
	w := sim.New(1)
	s := sim.NewServer(w)
	var at []time.Duration
	for range 3 {
		s.Do(nil, time.Second, func() { at = append(at, w.Now()) })
	}
	_ = w.Run(time.Minute)
	if fmt.Sprint(at) != "[1s 2s 3s]" {
		t.Errorf("done at %v", at)
	}
}

func TestMinimiseKeepsWhatFails(t *testing.T) {
	var s sim.Script
	for i := range 100 {
		s = append(s, sim.Action{N: i})
	}
	fails := func(s sim.Script) bool {
		has := map[int]bool{}
		for _, a := range s {
			has[a.N] = true
		}
		return has[17] && has[18] && has[80]
	}
	if got := sim.Minimise(s, 1000, fails); len(got) != 3 || !fails(got) {
		t.Errorf("left %v", got)
	}
	asked := 0
	sim.Minimise(s, 5, func(sim.Script) bool { asked++; return true })
	if asked > 5 {
		t.Errorf("asked %d times", asked)
	}
}

func TestAScriptIsReadAsItIsPrinted(t *testing.T) {
	s := sim.Script{{At: 1500 * time.Millisecond, Kind: "cut", Who: "a", With: "b", N: -3}, {At: time.Minute, Kind: "weather", N: 2}}
	got, err := sim.ParseScript("# found by hand\n\n" + s.String())
	if diff := cmp.Diff(s, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"1s cut a b", "1s cut a b c 1", "soon cut a b 1", "1s cut a b x"} {
		if _, err := sim.ParseScript(bad); err == nil {
			t.Errorf("%q is a script", bad)
		}
	}
}

func TestPropertiesNameWhatBroke(t *testing.T) {
	broken := errors.New("broken")
	p := sim.Properties[int, int]{Checks: map[string]uint64{}, All: []sim.Property[int, int]{
		{ID: "A", Event: func(w, e int) error { return nil }},
		{ID: "B", Event: func(w, e int) error {
			if e > w {
				return broken
			}
			return nil
		}},
		{ID: "C", Quiet: func(int) error { return nil }},
	}}
	var v *sim.Violation
	if err := p.Happened(1, 2); !errors.As(err, &v) || v.ID != "B" || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if p.Happened(1, 1) != nil || p.AtRest(1) != nil || p.Checks["A"] != 2 || p.Checks["C"] != 1 {
		t.Errorf("checks %v", p.Checks)
	}
	if got := (sim.Hits{"x": 1}).Missing([]string{"x", "y"}); len(got) != 1 || got[0] != "y" {
		t.Errorf("missing %v", got)
	}
}

func TestASessionKeepsOrderAndEndsWithItsLink(t *testing.T) {
	w := sim.New(1)
	n := sim.NewNetwork(w, nil)
	n.SetWeather(sim.Weather{Delay: 10 * time.Millisecond, Jitter: 300 * time.Millisecond, Loss: 0.3})
	s := n.Session("a", "b", &sim.Life{}, &sim.Life{}, sim.Flow{})
	var got, back []int
	for i := range 50 {
		w.At(time.Duration(i)*time.Millisecond, nil, func() {
			s.Send(false, func() { got = append(got, i) })
			s.Send(true, func() { back = append(back, i) })
		})
	}
	if err := w.Run(time.Minute); err != nil {
		t.Fatal(err)
	}
	if len(got) != 50 || !slices.IsSorted(got) || len(back) != 50 || !slices.IsSorted(back) {
		t.Errorf("50 messages arrive as %v, and back as %v", got, back)
	}
	s.Send(false, func() { t.Error("a message came over a link that was cut meanwhile") })
	n.Cut("b", "a")
	_ = w.Run(2 * time.Minute)
	n.JoinAll()
	if !s.Broken() {
		t.Error("a session outlives the cut of its link")
	}
	over := &sim.Life{}
	s = n.Session("a", "b", &sim.Life{}, over, sim.Flow{})
	over.End()
	if !s.Broken() {
		t.Error("a session outlives its end")
	}
}
