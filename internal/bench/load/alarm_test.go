package load

import (
	"testing"
	"time"
)

func TestAnAlarmDoesNotComeEarly(t *testing.T) {
	a := newAlarm()
	defer a.close()
	for _, d := range []time.Duration{time.Nanosecond, 300 * time.Microsecond, 2 * time.Millisecond} {
		start := time.Now()
		if err := a.sleep(d); err != nil {
			t.Fatalf("sleep %v: %v", d, err)
		}
		if took := time.Since(start); took < d {
			t.Errorf("%v of %v", took, d)
		}
	}
}

func TestAClosedAlarmLeavesTheTurnToTheTimer(t *testing.T) {
	w := newWaiter()
	w.alarm.close()
	defer w.timer.Stop()
	due := time.Now().Add(3 * time.Millisecond)
	if !w.until(due, nil) || time.Now().Before(due) {
		t.Error("the turn came early")
	}
}
