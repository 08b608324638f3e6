package live_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/live"
)

// Sixty writes by script, each followed by a look at every watch: groups that
// come and go, duplicates that appear and vanish, and rows of the far side of a
// LEFT JOIN that come before, after and without those of the near one. In half
// of the steps one more write comes before the look.
func TestTraceOfGroupsDuplicatesAndOuterJoins(t *testing.T) {
	n := newNode(t, live.Config{})
	queries := []string{
		"SELECT app, count(*), sum(port), max(note) FROM m GROUP BY app",
		"SELECT app, count(*) FROM m GROUP BY app HAVING count(*) > 1",
		"SELECT count(*), total(port) FROM m WHERE app <> 'web'",
		"SELECT DISTINCT app, port > 2 FROM m",
		"SELECT app FROM m UNION SELECT name FROM a",
		"SELECT m.id, a.owner FROM m LEFT JOIN a ON a.name = m.app",
		"SELECT a.name, a.zone, count(m.id) FROM a LEFT JOIN m ON m.app = a.name GROUP BY a.name, a.zone",
		"SELECT DISTINCT m.app, a.owner IS NULL FROM m LEFT JOIN a ON a.name = m.app AND a.zone = m.port",
		"SELECT m.id FROM m LEFT JOIN a ON a.name = m.app WHERE a.name IS NULL",
		"SELECT app, (SELECT count(*) FROM a WHERE a.name = m.app) FROM m GROUP BY app",
	}
	var readers []*reader
	for _, sql := range queries {
		readers = append(readers, n.watch(sql))
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 60))
	apps := []string{"web", "db", "", "Web"}
	write := func() string {
		app, id, zone := apps[rnd.IntN(len(apps))], fmt.Sprint("m", rnd.IntN(6)), rnd.IntN(3)
		sql, args := "", []any(nil)
		switch rnd.IntN(8) {
		case 0, 1:
			sql, args = "INSERT OR REPLACE INTO m (id, app, port, note) VALUES (?, ?, ?, ?)", []any{id, app, rnd.IntN(4), app}
		case 2:
			sql, args = "UPDATE m SET app = ? WHERE id = ?", []any{app, id}
		case 3:
			sql, args = "UPDATE m SET port = NULL WHERE app = ?", []any{app}
		case 4:
			sql, args = "DELETE FROM m WHERE id = ?", []any{id}
		case 5:
			sql, args = "INSERT OR REPLACE INTO a (name, zone, owner) VALUES (?, ?, ?)", []any{app, zone, id}
		case 6:
			sql, args = "UPDATE a SET owner = NULL WHERE zone = ?", []any{zone}
		case 7:
			sql, args = "DELETE FROM a WHERE name = ? AND zone = ?", []any{app, zone}
		}
		n.exec(sql, args...)
		return fmt.Sprint(sql, " ", args)
	}
	told := uint64(0)
	for step := range 60 {
		did := write()
		if rnd.IntN(2) == 0 {
			did += "; " + write()
		}
		n.quiet()
		for i, r := range readers {
			if !r.isFresh(queries[i]) {
				t.Fatalf("seed %d, step %d, %s\n%s: told %v, a fresh query gives %v", seed, step, did, queries[i], r.rows, n.query(queries[i]))
			}
		}
	}
	for _, r := range readers {
		told += r.last
	}
	if told < 100 {
		t.Errorf("seed %d: only %d changes were told", seed, told)
	}
}
