package presence_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

const hour = int64(60 * 60 * 1000)

func TestHeldBeginsAboveTwentyAndHalf(t *testing.T) {
	for _, c := range []struct {
		lost, present int
		want          bool
	}{
		{0, 1, false},     // the last app of a small region
		{19, 1, false},    // twenty lost: small enough, whatever the share
		{20, 20, true},    // the 21st of 40
		{20, 22, false},   // the 21st of 42: half is not more than half
		{20, 21, true},    // the 21st of 41
		{499, 501, false}, // the 500th of 1,000
		{500, 500, true},  // the 501st
		{0, 100_000, false},
	} {
		if got := presence.Held(c.lost, c.present); got != c.want {
			t.Errorf("lost %d, present %d: held %v, want %v", c.lost, c.present, got, c.want)
		}
	}
}

// withdraw offers n withdrawals with one stamp and returns how many go through.
func withdraw(b *presence.Brake, n int, since int64) (admitted int) {
	for range n {
		if b.Admit(since) {
			admitted++
		}
	}
	return admitted
}

func TestAHeldMassWithdrawalDoesNotErodeDayByDay(t *testing.T) {
	since := []int64{}
	present, day := 1000, 24*hour
	first := 100 * day
	left := 1000
	for d := range int64(10) {
		b := presence.NewBrake(present, slices.Clone(since))
		n := withdraw(b, left, first) // offered again every day, with the stamp of the first offer
		for range n {
			since = append(since, first)
		}
		present, left = present-n, left-n
		if present != 500 {
			t.Fatalf("after day %d %d apps are left, want 500", d, present)
		}
	}
}

func TestTwoWavesTakeNoMoreThanOne(t *testing.T) {
	b := presence.NewBrake(1000, nil)
	late := withdraw(b, 400, 100*hour+1000)
	early := withdraw(b, 600, 100*hour) // offered before, judged after
	if late+early != 500 {
		t.Errorf("two waves took %d of 1,000, want 500", late+early)
	}
}

func TestLossesOfYesterdayAreForgotten(t *testing.T) {
	b := presence.NewBrake(1000, nil)
	if got := withdraw(b, 1000, 100*hour); got != 500 {
		t.Fatalf("%d admitted, want 500", got)
	}
	if b.Admit(100*hour + 23*hour) {
		t.Error("a withdrawal 23 hours later is admitted")
	}
	if !b.Admit(100*hour + 25*hour) {
		t.Error("a withdrawal 25 hours later is held")
	}
}

func TestLosingAlarmsAboveFifteenPercentInTenMinutes(t *testing.T) {
	minute := hour / 60
	b := presence.NewBrake(85, slices.Repeat([]int64{100 * hour}, 15))
	if _, _, alarm := b.Losing(100 * hour); alarm {
		t.Error("15 % alarms")
	}
	b.Force(100 * hour)
	if lost, base, alarm := b.Losing(100*hour + 9*minute); !alarm || lost != 16 || base != 100 {
		t.Errorf("16 %% after 9 minutes: %d of %d, alarm %v", lost, base, alarm)
	}
	if _, _, alarm := b.Losing(100*hour + 11*minute); alarm {
		t.Error("it alarms after 11 minutes")
	}
}

// Whatever is offered in whatever order, within 24 hours no more is admitted
// than 20 or half, whichever is more, and a brake built anew from the outcome
// holds what was held.
func TestBrakeNeverLetsMoreThanHalfThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		present := rapid.IntRange(0, 300).Draw(t, "present")
		b := presence.NewBrake(present, nil)
		var since, held []int64
		for range rapid.IntRange(0, present).Draw(t, "offers") {
			at := 100*hour + rapid.Int64Range(0, 10*hour).Draw(t, "at")
			if b.Admit(at) {
				since = append(since, at)
			} else {
				held = append(held, at)
			}
		}
		if n := len(since); n > 20 && 2*n > present {
			t.Fatalf("%d of %d admitted", n, present)
		}
		again := presence.NewBrake(present-len(since), since)
		for _, at := range held {
			if again.Admit(at) {
				t.Fatalf("a brake built anew admits what was held, offered at %d", at)
			}
		}
	})
}
