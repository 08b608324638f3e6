package sqlite

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// ways are the two that a local write can take. Each makes db take it with the
// next write.
var ways = map[string]func(*testing.T, *DB){
	"in place": func(t *testing.T, db *DB) {
		for here := false; !here; { // until the loop waits
			here = ranHere(t, db)
		}
	},
	"by the loop": func(t *testing.T, db *DB) {
		crowd := func() error { db.crowd = 3; return nil }
		if err := db.inLoop(t.Context(), crowd); err != nil {
			t.Fatal(err)
		}
		if ranHere(t, db) {
			t.Fatal("a write did not wait for others that came along of late")
		}
	},
}

// ranHere writes nothing, and reports whether it did so in place.
func ranHere(t *testing.T, db *DB) (here bool) {
	t.Helper()
	_, err := db.Update(t.Context(), func(store.Tx) error {
		here = strings.Contains(string(debug.Stack()), ".inPlace(")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return here
}

func TestWriteThatDoesNotReturnLeavesNothing(t *testing.T) {
	for way, take := range ways {
		for end, fn := range map[string]func(){"panic": func() { panic("mine") }, "end of its goroutine": runtime.Goexit} {
			t.Run(way+"/"+end, func(t *testing.T) {
				db := openInside(t, Config{})
				take(t, db)
				var own any
				var over sync.WaitGroup
				over.Go(func() {
					defer func() { own = recover() }()
					_, _ = db.Update(t.Context(), func(x store.Tx) error {
						if err := x.Put("machines", bigRow("w1", 1)); err != nil {
							t.Error(err)
						}
						fn()
						return nil
					})
				})
				over.Wait()
				if end == "panic" && own != "mine" {
					t.Errorf("the caller has recovered %v", own)
				}
				take(t, db)
				if err := db.putRow(t, bigRow("w1", 2)); err != nil {
					t.Fatal(err)
				}
				if s := db.Stats(); s.Rows["machines"] != 1 || s.Err != nil {
					t.Errorf("stats %+v: the row of the write that did not return is there", s)
				}
			})
		}
	}
}

// Writes in place come one after another without an end, and peers' records,
// jobs and a close come to their turn all the same.
func TestWritesInPlaceLeaveTheLoopItsTurn(t *testing.T) {
	db := openInside(t, Config{Durability: OS})
	ctx, stop := context.WithCancel(t.Context())
	var writes atomic.Int64
	var over sync.WaitGroup
	for range 3 {
		over.Go(func() {
			for ctx.Err() == nil {
				n := writes.Add(1)
				_, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("machines", smallRow("w1", n)) })
				if err != nil {
					t.Errorf("write %d: %v", n, err)
					return
				}
			}
		})
	}
	peer := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	for v := range record.Version(20) {
		r, err := db.tables().byName["machines"].encode(smallRow("w2", int64(v)), "")
		if err != nil {
			t.Fatal(err)
		}
		out, err := db.Apply(t.Context(), []record.Delivery{record.Pushed(record.Changeset{Writer: peer, Version: v + 1, Records: []record.Record{r}})})
		if err != nil || out[0].Status != store.Applied {
			t.Fatal(out, err)
		}
		if err := db.inLoop(t.Context(), func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	over.Wait()
	if s := db.Stats(); s.Rows["machines"] != writes.Load()+20 || s.Err != nil {
		t.Errorf("stats %+v after %d writes of this node and 20 of a peer", s, writes.Load())
	}
}

func smallRow(worker string, i int64) store.Row {
	row := bigRow(worker, int(i))
	row[2] = record.Of(fmt.Sprint(i))
	return row
}

// What a write in place makes due is done without waiting for the clock.
func TestFeedIsTrimmedThoughAllWritesAreInPlace(t *testing.T) {
	db := openInside(t, Config{Durability: OS, FeedKeep: 10})
	oldest := func() (n uint64) {
		db.line.mu.Lock()
		defer db.line.mu.Unlock()
		return db.line.oldest
	}
	for i := int64(0); oldest() < 2; i++ {
		if _, err := db.Update(t.Context(), func(x store.Tx) error { return x.Put("machines", smallRow("w1", i%10+i<<20)) }); err != nil {
			t.Fatal(err)
		}
		if i > 3*trimEvery {
			t.Fatal("the feed is never trimmed")
		}
	}
}
