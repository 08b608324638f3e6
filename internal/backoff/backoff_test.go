package backoff_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
)

func TestNextStaysWithinItsStep(t *testing.T) {
	for seed := range uint64(200) {
		b := backoff.New(backoff.Config{Base: 100 * time.Millisecond, Max: time.Second}, seed)
		for i, bound := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
			bound *= time.Millisecond
			if d := b.Next(); d < bound/8 || d > bound {
				t.Fatalf("seed %d, wait %d: %v is not within [%v, %v]", seed, i, d, bound/8, bound)
			}
		}
	}
}

func TestEqualSeedsWaitEqually(t *testing.T) {
	a, b, other := backoff.New(backoff.Config{}, 7), backoff.New(backoff.Config{}, 7), backoff.New(backoff.Config{}, 8)
	differs := false
	for i := range 20 {
		x := a.Next()
		if y := b.Next(); x != y {
			t.Fatalf("wait %d: %v and %v", i, x, y)
		}
		differs = differs || x != other.Next()
	}
	if !differs {
		t.Error("another seed waited the same: no jitter between peers")
	}
}

func TestResetGoesBackToTheFirstStep(t *testing.T) {
	b := backoff.New(backoff.Config{Base: time.Millisecond, Max: time.Hour}, 1)
	for range 30 {
		b.Next()
	}
	b.Reset()
	if d := b.Next(); d > time.Millisecond {
		t.Errorf("first wait after Reset is %v", d)
	}
}

func TestHugeMaximumDoesNotOverflow(t *testing.T) {
	b := backoff.New(backoff.Config{Base: time.Hour, Max: math.MaxInt64}, 1)
	for i := range 100 {
		if d := b.Next(); d <= 0 {
			t.Fatalf("wait %d is %v", i, d)
		}
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := backoff.Wait(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait under a deadline: %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("waited %v after its context ended", d)
		}
		if err := backoff.Wait(t.Context(), time.Minute); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
}
