package watchdog_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/watchdog"
)

// watch runs a watchdog in the background of a bubble and returns the exit
// codes that it asked for.
func watch(t *testing.T, log *bytes.Buffer) (*watchdog.Watchdog, <-chan int) {
	t.Helper()
	exits := make(chan int, 1)
	w := watchdog.New(watchdog.Config{
		Logger: slog.New(slog.NewTextHandler(log, nil)),
		Exit:   func(code int) { exits <- code },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w, exits
}

func TestSilentLoopEndsTheProcessAndDumpsStacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w, exits := watch(t, &log)
		l := w.Loop("apply", 2*time.Second)
		start := time.Now()
		go wedge(t.Context(), l)
		if code := <-exits; code != watchdog.ExitCode {
			t.Errorf("exit code %d, want %d", code, watchdog.ExitCode)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("noticed after %v", d)
		}
		for _, want := range []string{"loop=apply", "watchdog_test.wedge"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log lacks %q", want)
			}
		}
		if w.Healthy() {
			t.Error("Healthy with a wedged loop")
		}
	})
}

// wedge marks once and then hangs, as a deadlocked loop would.
func wedge(ctx context.Context, l *watchdog.Loop) {
	l.Mark()
	<-ctx.Done()
}

func TestLoopThatMarksIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w, exits := watch(t, &log)
		l := w.Loop("push", time.Second)
		for range 60 {
			time.Sleep(900 * time.Millisecond)
			l.Mark()
		}
		select {
		case code := <-exits:
			t.Errorf("exit %d: %s", code, log.String())
		default:
		}
	})
}

func TestRestingLoopIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w, exits := watch(t, &log)
		w.Loop("once", time.Second).Rest()
		time.Sleep(time.Hour)
		select {
		case code := <-exits:
			t.Errorf("exit %d: %s", code, log.String())
		default:
		}
	})
}

func TestNilLoopIsWatchedByNobody(t *testing.T) {
	var l *watchdog.Loop
	l.Mark()
	l.Rest()
}
