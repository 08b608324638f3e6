package sqlite

import (
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Budget is how many records one writer may write. Beyond it a writer of this
// node is delayed, and says so; another's records are merged after those of
// all who keep to theirs. Nothing is dropped for it.
type Budget struct {
	Rate  int // records per second; zero means no budget
	Burst int // records at once, after a pause; zero means ten seconds' worth
}

func (b Budget) burst() float64 {
	if b.Burst > 0 {
		return float64(b.Burst)
	}
	return float64(10 * b.Rate)
}

// bucket holds what a writer has left. It may be overdrawn: a changeset is
// never cut.
type bucket struct {
	level float64
	at    time.Time // of level; zero for a full bucket
}

// left refills the bucket up to now and returns what is in it.
func (k *bucket) left(b Budget, now time.Time) float64 {
	if k.at.IsZero() {
		k.level = b.burst()
	} else {
		k.level = min(b.burst(), k.level+float64(b.Rate)*max(0, now.Sub(k.at).Seconds()))
	}
	k.at = now
	return k.level
}

// spend takes n records out.
func (k *bucket) spend(b Budget, now time.Time, n int) {
	k.left(b, now)
	k.level -= float64(n)
}

// wait is how long an overdrawn bucket has to fill.
func (k *bucket) wait(b Budget, now time.Time) time.Duration {
	if left := k.left(b, now); left < 0 {
		return time.Duration(-left / float64(b.Rate) * float64(time.Second))
	}
	return 0
}

// maxBuckets bounds the writers whose budgets are watched; beyond them the ones
// that are full are let go.
const maxBuckets = 4096

// buckets are those of the writers that others' records come from.
type buckets struct {
	budget Budget
	of     map[record.Writer]*bucket
}

// over reports whether a writer has written more than its budget.
func (s *buckets) over(w record.Writer, now time.Time) bool {
	k := s.of[w]
	return k != nil && k.left(s.budget, now) < 0
}

func (s *buckets) spend(w record.Writer, now time.Time, n int) {
	if s.budget.Rate == 0 || n == 0 {
		return
	}
	if s.of[w] == nil {
		if len(s.of) >= maxBuckets {
			for o, k := range s.of {
				if k.left(s.budget, now) >= s.budget.burst() {
					delete(s.of, o)
				}
			}
		}
		if len(s.of) >= maxBuckets {
			return
		}
		s.of[w] = &bucket{}
	}
	s.of[w].spend(s.budget, now, n)
}
