package live_test

import (
	"fmt"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/live"
)

// BenchmarkCommitToEvent is a write and the event that it makes, one after the
// other, while other watches are followed that it does not concern.
func BenchmarkCommitToEvent(b *testing.B) {
	for _, others := range []int{0, 10, 10_000} {
		for name, sql := range map[string]string{"keyed": "SELECT id, port FROM m WHERE id = 'mine'", "query": "SELECT count(*), max(port) FROM m"} {
			b.Run(fmt.Sprintf("others=%d/%s", others, name), func(b *testing.B) {
				n := newNode(b, live.Config{})
				for i := range others {
					n.watch("SELECT id, port FROM m WHERE id = ?", fmt.Sprint("other", i))
				}
				n.exec("INSERT INTO m (id, port) VALUES ('mine', 0)")
				r := n.watch(sql)
				port := 0
				b.ReportAllocs()
				for b.Loop() {
					port++
					n.exec("UPDATE m SET port = ? WHERE id = 'mine'", port)
					cs, err := r.w.Next(b.Context(), r.last)
					if err != nil {
						b.Fatal(err)
					}
					r.last = cs[len(cs)-1].ID
				}
			})
		}
	}
}

// BenchmarkUnconcerned is a write that concerns none of many watches.
func BenchmarkUnconcerned(b *testing.B) {
	for _, watches := range []int{0, 10, 10_000} {
		b.Run(fmt.Sprintf("watches=%d", watches), func(b *testing.B) {
			n := newNode(b, live.Config{})
			for i := range watches {
				n.watch("SELECT id, port FROM m WHERE id = ?", fmt.Sprint("other", i))
			}
			port := 0
			b.ReportAllocs()
			for b.Loop() {
				port++
				n.exec("INSERT OR REPLACE INTO m (id, port) VALUES ('mine', ?)", port)
			}
		})
	}
}
