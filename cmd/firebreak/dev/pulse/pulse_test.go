package pulse

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhoRunsOnTimeLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pulse{}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		start := time.Now()
		if err := p.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if lost := p.Lost(start, time.Now()); lost != 0 || p.Total() != 0 {
			t.Errorf("lost %v, %v in all", lost, p.Total())
		}
	})
}

func TestLostTimeCountsWhereItLies(t *testing.T) {
	p := &Pulse{}
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	p.note(gap{at(100), at(200)})
	p.note(gap{at(300), at(400)})
	for _, c := range []struct{ from, to, want int }{
		{0, 1000, 200}, {0, 50, 0}, {150, 350, 100}, {120, 130, 10}, {200, 300, 0}, {400, 900, 0}, {350, 320, 0},
	} {
		if got := p.Lost(at(c.from), at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("from %d to %d ms: lost %v, want %d ms", c.from, c.to, got, c.want)
		}
	}
	if p.Total() != 200*time.Millisecond {
		t.Errorf("lost %v in all", p.Total())
	}
}

func TestOldGapsAreForgotten(t *testing.T) {
	p := &Pulse{}
	start := time.Now()
	for i := range 3 * maxGaps {
		p.note(gap{start.Add(time.Duration(i) * time.Second), start.Add(time.Duration(i)*time.Second + time.Millisecond)})
	}
	if len(p.gaps) > maxGaps || p.Total() != 3*maxGaps*time.Millisecond {
		t.Errorf("%d gaps, %v in all", len(p.gaps), p.Total())
	}
}
