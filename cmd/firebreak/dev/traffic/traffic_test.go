package traffic_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/traffic"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace/tracegen"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// sink carries changes out at once, or after a delay.
type sink struct {
	delay time.Duration
	live  []map[fleet.MachineID]fleet.App
	count int
	times []time.Duration
	start time.Time
}

func newSink(workers int) *sink {
	s := &sink{start: time.Now()}
	for range workers {
		s.live = append(s.live, map[fleet.MachineID]fleet.App{})
	}
	return s
}

func (s *sink) Offer(ctx context.Context, worker int, changes ...daemon.Change) error {
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, c := range changes {
		s.count++
		s.times = append(s.times, time.Since(s.start))
		if c.Health != 0 {
			continue
		}
		if !c.Gone {
			s.live[worker][c.ID] = c.App
			continue
		}
		if _, ok := s.live[worker][c.ID]; !ok {
			return errors.New("end of " + string(c.ID) + ", which does not run")
		}
		delete(s.live[worker], c.ID)
	}
	return nil
}

func (s *sink) apps() map[fleet.App]int {
	out := map[fleet.App]int{}
	for _, w := range s.live {
		for _, app := range w {
			out[app]++
		}
	}
	return out
}

func TestOneSeedMakesOneFleet(t *testing.T) {
	a, b, other := traffic.NewModel(1, 3, "m"), traffic.NewModel(1, 3, "m"), traffic.NewModel(2, 3, "m")
	same := true
	for range 1000 {
		wa, ca := a.Next()
		wb, cb := b.Next()
		if wa != wb || ca != cb {
			t.Fatalf("one seed gave %d %+v and %d %+v", wa, ca, wb, cb)
		}
		wo, co := other.Next()
		same = same && wa == wo && ca == co
	}
	if same {
		t.Error("two seeds gave one fleet")
	}
}

func TestAnInventedFleetDoesAllThatFleetsDoAndKeepsItsSize(t *testing.T) {
	const workers = 3
	m := traffic.NewModel(7, workers, "m")
	s := newSink(workers)
	apps := traffic.Apps()
	ended, last := map[fleet.MachineID]bool{}, map[fleet.App]int{}
	count := map[string]int{}
	most, least := 0, 1000
	for step := range 20_000 {
		w, c := m.Next()
		app, there := s.live[w][c.ID]
		switch {
		case (c.Gone || c.Health != 0) && !there:
			t.Fatalf("change %+v of a machine that does not run", c)
		case c.Gone && c.Destroyed:
			count["destroyed"]++
			delete(ended, c.ID)
		case c.Gone:
			count["ends"]++
			ended[c.ID] = true
		case c.Health != 0:
			count[c.Health.String()]++
		case there:
			count["updates"]++
		default:
			count["publishes"]++
			if s.apps()[c.App] == 0 {
				count["firsts"]++
			}
			if ended[c.ID] {
				count["restarts"]++
			}
			if strings.HasPrefix(string(c.App), "job-") {
				last[c.App] = step
			}
		}
		if !c.Gone && c.Health == 0 && (!slices.Contains(apps, c.App) || there && app != c.App || c.App.Check() != nil || c.ID.Check() != nil) {
			t.Fatalf("bad change %+v of app %s", c, app)
		}
		if err := s.Offer(t.Context(), w, c); err != nil {
			t.Fatal(err)
		}
		if step > 1000 {
			most, least = max(most, len(s.live[w])), min(least, len(s.live[w]))
		}
	}
	for kind, want := range map[string]int{
		"publishes": 5000, "updates": 2000, "ends": 3000, "destroyed": 500, "firsts": 300, "restarts": 200,
		"HEALTH_STATUS_FAILING": 100, "HEALTH_STATUS_WARNING": 100, "HEALTH_STATUS_PASSING": 200,
	} {
		if count[kind] < want {
			t.Errorf("%d %s, want %d: %v", count[kind], kind, want, count)
		}
	}
	if most > 60 || least < 5 || len(last) < 80 {
		t.Errorf("a worker ran %d to %d machines, %d jobs", least, most, len(last))
	}
}

func TestInventKeepsItsRateAndMakesNoFloodAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s := newSink(2)
		if err := traffic.Invent(ctx, traffic.NewModel(1, 2, "m"), 50, s); err != nil {
			t.Fatal(err)
		}
		if s.count < 495 || s.count > 500 {
			t.Errorf("%d changes in 10 s at 50/s", s.count)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		s := newSink(1)
		s.delay = 200 * time.Millisecond // five changes a second are all it takes
		if err := traffic.Invent(ctx, traffic.NewModel(1, 1, "m"), 50, s); err != nil {
			t.Fatal(err)
		}
		if s.count < 95 || s.count > 100 {
			t.Errorf("%d changes in 20 s through a sink that takes 5/s", s.count)
		}
	})
}

const day = trace.Time(24 * 3600 * 1e9)

func replay(machines []trace.Machine, until trace.Time, workers int) traffic.Replay {
	return traffic.Replay{
		Schedule: trace.NewSchedule(machines, until), Until: until, Speed: 60_000, Workers: workers,
		Progress: func(trace.Time, int) {},
	}
}

func TestAReplayEndsAtTheDefinitionInItsTime(t *testing.T) {
	machines := tracegen.Generate(tracegen.Config{Seed: 3, Machines: 2000, Apps: 30, Span: 30 * day})
	for _, delay := range []time.Duration{0, 30 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			const until = 20 * day
			s := newSink(4)
			s.delay = delay
			r := replay(machines, until, 4)
			if err := r.Initial(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if at, err := r.Run(t.Context(), s); err != nil || at != until {
				t.Fatalf("ended at %d, %v", at, err)
			}
			if diff := cmp.Diff(trace.Count(machines, until), s.apps(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-definition +replay):\n%s", diff)
			}
			for w, live := range s.live {
				for id := range live {
					if trace.Place(id, 4) != w {
						t.Errorf("%s runs on worker %d", id, w)
					}
				}
			}
			want := time.Duration(until.Seconds()/60_000) * time.Second
			if took := time.Since(s.start); took < want || took > want+2*time.Second+40*delay {
				t.Errorf("took %v, want about %v", took, want)
			}
		})
	}
}

func TestAReplayWithoutEventsEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(1)
		r := replay([]trace.Machine{{ID: "a", App: "web", Create: trace.Before, Delete: trace.Never}}, trace.Never, 1)
		r.Until = r.Schedule.End()
		if err := r.Initial(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Run(t.Context(), s); err != nil || s.count != 1 {
			t.Errorf("%d changes, %v", s.count, err)
		}
	})
}

func TestAReplayStopsWhenAskedAndFailsWithItsSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machines := []trace.Machine{{ID: "a", App: "web", Create: 0, Delete: day}}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if at, err := replay(machines, day, 1).Run(ctx, newSink(1)); err != nil || at == 0 || at >= day {
			t.Errorf("stopped at %d, %v", at, err)
		}
		bad := []trace.Machine{{ID: "b", App: "web", Create: trace.Before, Delete: 0}} // not offered by Initial
		if _, err := replay(bad, day, 1).Run(t.Context(), newSink(1)); err == nil || !strings.Contains(err.Error(), "does not run") {
			t.Errorf("got %v", err)
		}
	})
}
