package sqlite

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// A writer over its budget is merged after all that keep to theirs, in its own
// order, and nothing of it is dropped.
func TestNoisyWriterIsMergedAfterTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newRemoteQueue(Budget{Rate: 10, Burst: 20})
		writer := func(node string) record.Writer { return record.Writer{Node: record.Node(node), Boot: 1, Bits: 1} }
		push := func(node string, v int) {
			d := &delivery{Delivery: record.Pushed(record.Changeset{Writer: writer(node), Version: record.Version(v)})}
			if err := q.push(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		pop := func() string {
			d := q.pop()
			q.leave()
			q.spend(d.Writer, 10)
			return fmt.Sprintf("%s%d", d.Writer.Node, d.Range.From)
		}
		for v := 1; v <= 6; v++ {
			push("noisy", v)
		}
		var got []string
		for range 3 { // 30 records of a budget of 20
			got = append(got, pop())
		}
		push("a", 1)
		push("b", 1)
		push("a", 2)
		for range 6 {
			got = append(got, pop())
		}
		want := []string{"noisy1", "noisy2", "noisy3", "a1", "b1", "a2", "noisy4", "noisy5", "noisy6"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("merged (-want +got):\n%s", diff)
		}
		if q.passed() == 0 || q.length() != 0 {
			t.Errorf("passed over %d times, %d left", q.passed(), q.length())
		}
		time.Sleep(time.Minute) // of the bubble: the bucket fills
		push("noisy", 7)
		push("a", 3)
		if first := pop(); first != "noisy7" {
			t.Errorf("after a pause %s goes first", first)
		}
	})
}

// A writer beyond its own budget is delayed, and told; nothing is refused.
func TestWriterBeyondItsBudgetIsDelayedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openInside(t, Config{Budget: Budget{Rate: 10, Burst: 10}, Durability: OS})
		start := time.Now()
		var delayed time.Duration
		for i := range 40 {
			c, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("machines", bigRow("w1", i)) })
			if err != nil || c.Records != 1 {
				t.Fatalf("write %d: %+v, %v", i, c, err)
			}
			if i < 10 && c.Delayed > 0 {
				t.Errorf("write %d within the budget was delayed by %v", i, c.Delayed)
			}
			delayed += c.Delayed
		}
		if took := time.Since(start); took < 2900*time.Millisecond || delayed < 2*time.Second {
			t.Errorf("40 writes took %v of fake time, %v of it delay: want 30 at 10 a second", took, delayed)
		}
		if _, err := db.Update(t.Context(), func(store.Tx) error { return nil }); err != nil {
			t.Error(err)
		}
	})
}
