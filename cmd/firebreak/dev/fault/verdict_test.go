package fault

import (
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

func TestAFaultOfGlobalOrRoutersMayTouchNoRegion(t *testing.T) {
	for _, command := range []string{"kill globals", "stop routers", "partition node global/global-1"} {
		w := start(t, spec())
		w.must(t, command)
		w.sample = Sample{Nodes: map[string]Count{"iad/iad-1": {Errors: 1}}}
		if v := w.Judge(t.Context(), time.Now())[0]; v.OK || v.Detail != "region iad was touched: 1 requests failed" {
			t.Errorf("%s: %+v", command, v)
		}
	}
}

func TestAFlatFederationIsShownAndNotJudged(t *testing.T) {
	w := start(t, spec().Flat())
	w.must(t, "storm region iad")
	w.sample = Sample{Nodes: map[string]Count{"ams/ams-1": {Errors: 4}}}
	if v := w.Judge(t.Context(), time.Now())[0]; !v.OK || len(v.Touched) != 1 || v.Touched[0] != "ams" {
		t.Errorf("%+v", v)
	}
}

func TestANodeThatDoesNotAnswerHasSentNothing(t *testing.T) {
	silent, spoke := Count{silent: true}, Count{Bytes: 1 << 40, ApplyErrors: 7}
	for _, d := range []Count{silent.since(spoke), spoke.since(silent)} {
		if d.Bytes != 0 || d.ApplyErrors != 0 {
			t.Errorf("counted %+v", d)
		}
	}
}

func TestNewsIsLateOnlyWhereAndWhileSomethingHoldsItUp(t *testing.T) {
	w := start(t, spec())
	now := time.Now()
	over := w.Upkeep(w.fleet.plan.In("iad")[0])
	if later := now.Add(time.Minute); !w.Heard("iad", later).Before(later) || w.Heard("ams", later) != later {
		t.Error("upkeep holds up other news than that of its region")
	}
	over()
	if later := time.Now().Add(recovery); w.Heard("iad", later) != later {
		t.Error("upkeep that is over holds up news")
	}
	for _, c := range []struct {
		command  string
		iad, ams bool // news of it is late
	}{
		{"kill region iad", true, false},
		{"partition node iad/iad-1", true, false},
		{"stop globals", true, true},
		{"delay routers 5ms", true, true},
		{"mass-delete region iad", false, false},
		{"upgrade region iad", true, false},
	} {
		w := start(t, spec())
		before := time.Now()
		w.must(t, c.command)
		late := func(r fleet.Region, at time.Time) bool {
			heard := w.Heard(r, at)
			return heard.Before(at) && heard.After(before)
		}
		now := time.Now()
		if late("iad", now) != c.iad || late("ams", now) != c.ams {
			t.Errorf("%s: news of iad is late: %v, of ams: %v", c.command, late("iad", now), late("ams", now))
		}
		ends := c.command == "upgrade region iad"
		if after := now.Add(recovery + time.Minute); late("iad", after) != (c.iad && !ends) {
			t.Errorf("%s: news is late for ever: %v", c.command, late("iad", after))
		}
		w.must(t, "heal")
		if after := time.Now().Add(recovery); late("iad", after) || late("ams", after) {
			t.Errorf("%s: news is late after its heal", c.command)
		}
	}
}
