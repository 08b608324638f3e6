package clock_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/clock"
)

// host is a node whose wall is off by skew, and its peers' by theirs.
type host struct {
	*clock.Watch

	mu     sync.Mutex
	skew   time.Duration
	theirs []time.Duration
	last   hlc.Timestamp
	resets int
	fails  error
}

func (h *host) with(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn()
}

func (h *host) wall() time.Time { return time.Now().Add(h.skew) }

// stamps makes the host stamp by its clock of now.
func (h *host) stamps() { h.with(func() { h.last = max(h.last, hlc.At(h.wall())) }) }

func (h *host) count() (n int) { h.with(func() { n = h.resets }); return n }

func watched(t *testing.T, skew time.Duration, theirs ...time.Duration) *host {
	h := &host{skew: skew, theirs: theirs}
	h.Watch = clock.New(clock.Config{
		Now: func() (now time.Time) { h.with(func() { now = h.wall() }); return now },
		Ask: func(context.Context) (out []hlc.Reading) {
			h.with(func() {
				for _, d := range h.theirs {
					out = append(out, hlc.ReadingOf(time.Now().Add(d), h.wall(), time.Millisecond))
				}
			})
			return out
		},
		Last: func() (last hlc.Timestamp) { h.with(func() { last = h.last }); return last },
		Reset: func(context.Context) (store.ClockReset, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.fails != nil {
				return store.ClockReset{}, h.fails
			}
			h.resets, h.last = h.resets+1, hlc.At(h.wall())
			return store.ClockReset{Above: h.wall()}, nil
		},
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return h
}

const year = 365 * 24 * time.Hour

func TestNodeWhoseClockIsNotItsPeersRefusesSharedWrites(t *testing.T) {
	for name, c := range map[string]struct {
		skew time.Duration
		says string
	}{"years ahead": {3 * year, "ahead of the median of 3 peers"}, "a year behind": {-year, "behind the median of 3 peers"}} {
		synctest.Test(t, func(t *testing.T) {
			h := watched(t, c.skew, 0, 0, 0)
			if err := h.Fault(); !errors.Is(err, store.ErrClock) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			if a := h.Alarms(); len(a) != 1 || !strings.Contains(a[0], c.says) {
				t.Errorf("%s: alarms %q", name, a)
			}
			if _, err := h.Reset(t.Context()); !errors.Is(err, store.ErrClock) || h.count() > 0 {
				t.Errorf("%s: reset by a wrong clock: %v", name, err)
			}
			h.with(func() { h.skew = 0 })
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if err := h.Fault(); err != nil || len(h.Alarms()) > 0 {
				t.Errorf("%s: after it was set right: %v, %q", name, err, h.Alarms())
			}
		})
	}
}

func TestJumpAtRunTimeIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := watched(t, 0, 0, 100*time.Millisecond, -100*time.Millisecond)
		for _, jump := range []time.Duration{time.Hour, -time.Hour, 0} {
			h.with(func() { h.skew = jump })
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if err := h.Fault(); (err != nil) != (jump != 0) {
				t.Errorf("after a jump to %v: %v", jump, err)
			}
		}
	})
}

// Peers that are wrong, or too few, stop nobody else.
func TestFewOrWrongPeersStopNoWrites(t *testing.T) {
	for _, theirs := range [][]time.Duration{nil, {year}, {year, year}, {0, 0, year}, {0, 0, year, -year}, {0, 0, year, year}} {
		synctest.Test(t, func(t *testing.T) {
			if err := watched(t, 0, theirs...).Fault(); err != nil {
				t.Errorf("peers %v: %v", theirs, err)
			}
		})
	}
}

func TestClockThatWasAheadIsResetAMinuteAfterItIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := watched(t, year, 0, 0)
		h.stamps() // two peers are too few to refuse it
		time.Sleep(10 * time.Minute)
		if h.count() > 0 {
			t.Fatal("reset by a clock that is wrong")
		}
		h.with(func() { h.skew = 0 })
		if a := h.Alarms(); len(a) == 0 || !strings.Contains(a[len(a)-1], "clock reset") {
			t.Errorf("alarms %q: want what ends it", a)
		}
		time.Sleep(55 * time.Second)
		if h.count() > 0 {
			t.Error("reset before the clock was right for a minute")
		}
		time.Sleep(15 * time.Second)
		if h.count() != 1 {
			t.Errorf("%d resets a minute after it was right", h.count())
		}
		time.Sleep(time.Hour)
		if h.count() != 1 || len(h.Alarms()) > 0 {
			t.Errorf("%d resets an hour later, alarms %q", h.count(), h.Alarms())
		}
	})
}

// One peer that is far from this node is reason to leave it to a person; a
// reset that fails is tried again.
func TestResetByItselfWaitsForEveryPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := watched(t, year, 0, 0)
		h.stamps()
		h.with(func() { h.skew, h.theirs = 0, []time.Duration{0, 0, 0, time.Minute} })
		time.Sleep(10 * time.Minute)
		if h.count() > 0 {
			t.Error("reset while a peer shows another time")
		}
		h.with(func() { h.theirs, h.fails = h.theirs[:3], errors.New("disk") })
		time.Sleep(2 * time.Minute)
		h.with(func() { h.fails = nil })
		time.Sleep(6 * time.Second)
		if h.count() != 1 {
			t.Errorf("%d resets once all agreed and the disk was back", h.count())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := watched(t, year)
		h.stamps()
		h.with(func() { h.skew = 0 })
		time.Sleep(10 * time.Minute)
		if h.count() > 0 {
			t.Error("a node alone reset its clock by itself")
		}
		if _, err := h.Reset(t.Context()); err != nil || h.count() != 1 {
			t.Errorf("an operator's reset: %v", err)
		}
	})
}
