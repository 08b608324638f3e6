package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica/runner"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// faulty is a store whose disk is full for a while, or whose feed lost its
// reader.
type faulty struct {
	store.Store
	full   atomic.Int32 // so many calls of Apply fail
	resync atomic.Bool  // the next read of a feed fails
}

var errFull = errors.New("no space left on device")

func (f *faulty) Apply(ctx context.Context, batch []record.Delivery) ([]store.Outcome, error) {
	if f.full.Add(-1) >= 0 {
		return nil, errFull
	}
	return f.Store.Apply(ctx, batch)
}

func (f *faulty) Feed(from store.Position) (store.Feed, error) {
	feed, err := f.Store.Feed(from)
	return &faultyFeed{feed, f}, err
}

type faultyFeed struct {
	store.Feed
	f *faulty
}

func (f *faultyFeed) Next(ctx context.Context) ([]store.Entry, error) {
	entries, err := f.Feed.Next(ctx)
	if f.f.resync.CompareAndSwap(true, false) {
		return nil, store.ErrResync
	}
	return entries, err
}

// joinFaulty joins a node whose store can be made to fail.
func (h *hub) joinFaulty(t *testing.T, name record.Node) (*node, *faulty) {
	f := &faulty{}
	n := h.join(t, name, nil, func(c *runner.Config) {
		f.Store = c.Store
		c.Store = f
	})
	return n, f
}

func TestFullDiskWithholdsNothingAndHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		a := h.join(t, "a", nil, nil)
		b, disk := h.joinFaulty(t, "b")
		synctest.Wait()
		disk.full.Store(5)
		var last record.Point
		for i := range 20 {
			last = a.put(t, i, fmt.Sprint("x", i)).Point
		}
		time.Sleep(100 * time.Millisecond)
		if n := len(b.Received()); n != 0 {
			t.Errorf("something of %d writers counts as received and is not stored", n)
		}
		if err := b.WaitPoint(within(t, time.Minute), last); err != nil {
			t.Fatal(err)
		}
		if a.Root() != b.Root() {
			t.Error("roots differ")
		}
		if s := a.Stats(); s.Arrived != 0 || b.Stats().Arrived != 20 {
			t.Errorf("the batch in hand was fetched again: %d deliveries arrived", b.Stats().Arrived)
		}
	})
}

func TestLostFeedIsReadAnewAndOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		a, disk := h.joinFaulty(t, "a")
		b := h.join(t, "b", nil, nil)
		synctest.Wait()
		disk.resync.Store(true)
		point := a.put(t, 1, "x").Point // its entry is lost: nothing is pushed
		began := time.Now()
		if err := a.WaitPoint(within(t, time.Second), point); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitPoint(within(t, time.Minute), point); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("b was told after %v", d)
		}
		point = a.put(t, 2, "x").Point
		if err := b.WaitPoint(within(t, time.Second), point); err != nil {
			t.Errorf("the feed does not go on: %v", err)
		}
	})
}

func TestClosedStoreEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		n := &node{hub: h, name: "a", inbox: make(chan frame)}
		n.store = newStore(t, h, "a", nil, 0)
		r, err := runner.New(runner.Config{Node: "a", Store: n.store, Mesh: n})
		if err != nil {
			t.Fatal(err)
		}
		if s := r.Stats(); s.Writers != 0 {
			t.Errorf("stats before Run: %+v", s)
		}
		done := make(chan error, 1)
		go func() { done <- r.Run(t.Context()) }()
		synctest.Wait()
		if err := n.store.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, store.ErrClosed) {
			t.Errorf("run ended with %v", err)
		}
		if err := r.WaitPoint(t.Context(), record.Point{Writer: record.Writer{Node: "z"}, Version: 1}); !errors.Is(err, runner.ErrStopped) {
			t.Errorf("a wait after the end gave %v", err)
		}
	})
}

func TestMetricsAreWellFormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		reg := prometheus.NewPedanticRegistry()
		a := h.join(t, "a", nil, func(c *runner.Config) { c.Metrics = reg })
		h.join(t, "b", nil, nil)
		a.put(t, 1, "x")
		synctest.Wait()
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		if n, err := testutil.GatherAndCount(reg); err != nil || n < 20 {
			t.Errorf("%d metrics, %v", n, err)
		}
		a.stop()
		if n, err := testutil.GatherAndCount(reg); err != nil || n != 0 {
			t.Errorf("%d metrics after the end, %v", n, err)
		}
	})
}

func TestConfigNamesEveryProblem(t *testing.T) {
	_, err := runner.New(runner.Config{})
	for _, want := range []string{"no node", "no store", "no mesh"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
