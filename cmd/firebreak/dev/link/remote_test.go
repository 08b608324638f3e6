package link

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// apart serves the links of n to a port as that of another process.
func apart(t *testing.T, l *Links, n Node) (f *Follower, gone func()) {
	t.Helper()
	here, there := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	var g sync.WaitGroup
	g.Go(func() { l.Serve(ctx, n, here) })
	f, err := Join(ctx, there)
	if err != nil {
		t.Fatal(err)
	}
	g.Go(func() { _ = f.Run(ctx) })
	return f, sync.OnceFunc(func() { cancel(); g.Wait() })
}

func TestAnotherProcessGoesByARuleOnceItIsAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Seed: 7, Quality: func(from, to Node) Quality {
			if from == to {
				return Quality{}
			}
			return Quality{Delay: time.Millisecond}
		}})
		l.Name("host:1", "a")
		l.Name("host:2", "b")
		f, gone := apart(t, l, "a")
		defer gone()
		q := func() Quality {
			q, _, _, found := f.routes.find("host:2")
			if !found {
				t.Fatal("it does not know b")
			}
			return q
		}
		before := q()
		worse(t, l, Quality{Cut: true}, "b")
		during := q()
		mend(t, l)
		want := []Quality{{Delay: time.Millisecond}, {Delay: time.Millisecond, Cut: true}, {Delay: time.Millisecond}}
		if diff := cmp.Diff(want, []Quality{before, during, q()}); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if here := l.state("a"); f.routes.home() != here.Home || here.Home == "" {
			t.Errorf("it dials from %q, want %q", f.routes.home(), here.Home)
		}
	})
}

func TestNobodyWaitsForAProcessThatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{})
		l.Name("host:1", "a")
		f, gone := apart(t, l, "a")
		gone()
		worse(t, l, Quality{Cut: true}, "a")
		if q, _, _, _ := f.routes.find("host:1"); q.Cut {
			t.Error("it heard of a rule after its end")
		}
		start := time.Now()
		here, there := net.Pipe() // of a process that is stopped
		defer there.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.Serve(ctx, "a", here) }()
		synctest.Wait()
		mend(t, l)
		if waited := time.Since(start); waited != answerWithin {
			t.Errorf("it waited %v for one that does not answer", waited)
		}
		cancel()
		<-done
	})
}
