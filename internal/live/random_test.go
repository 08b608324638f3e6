package live_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/store"
)

var queries = flag.Int("queries", 150, "how many random queries TestWatchedEqualsFresh watches")

// workload writes at random to both tables, and calls quiet now and then.
func workload(n *node, seed uint64, steps int, quiet func()) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	for i := range steps {
		id, app := pick("m1", "m2", "m3", "m4", "m5", "m6"), pick("web", "db", "api", "")
		var port any
		if rnd.IntN(5) > 0 {
			port = rnd.IntN(6)
		}
		switch rnd.IntN(8) {
		case 0:
			n.exec("DELETE FROM m WHERE id = ?", id)
		case 1:
			n.exec("UPDATE m SET id = id || 'x' WHERE id = ? AND NOT EXISTS (SELECT 1 FROM m o WHERE o.id = m.id || 'x')", id)
		case 2:
			n.exec("INSERT OR REPLACE INTO a (name, zone, owner) VALUES (?, ?, ?)", app, rnd.IntN(4), pick("ann", "bob"))
		case 3:
			n.exec("DELETE FROM a WHERE name = ? AND zone > ?", app, rnd.IntN(3))
		case 4:
			n.exec("UPDATE m SET port = port + 10 WHERE app = ?", app)
		case 5:
			n.exec("DELETE FROM m WHERE id LIKE '%x%'")
		default:
			n.exec("INSERT OR REPLACE INTO m (id, app, port, note) VALUES (?, ?, ?, ?)", id, app, port, fmt.Sprint(rnd.IntN(3)))
		}
		if i%4 == 3 || i == steps-1 {
			quiet()
		}
	}
}

// randomQuery makes a SELECT over the tables of the tests.
func randomQuery(rnd *rand.Rand) string {
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	cond := func(q string) string {
		one := func() string {
			return pick(q+"app = 'web'", q+"app = 'db'", q+"port = 3", q+"port > 2", q+"port IS NULL", q+"id = 'm1'", q+"id IN ('m1', 'm2')",
				q+"note = '1'", "NOT "+q+"app = 'web'", q+"app LIKE 'w%'", q+"port BETWEEN 1 AND 4", q+"app || '' = 'web'",
				"EXISTS (SELECT 1 FROM a x WHERE x.name = "+q+"app)", q+"app IN (SELECT name FROM a WHERE zone < 2)",
				q+"port < (SELECT count(*) FROM a)", "'web' = "+q+"app", q+"app = 'web' COLLATE NOCASE")
		}
		c := one()
		for range rnd.IntN(3) {
			c += pick(" AND ", " OR ") + one()
		}
		return c
	}
	where := func(q string) string {
		if rnd.IntN(4) == 0 {
			return ""
		}
		return " WHERE " + cond(q)
	}
	switch rnd.IntN(13) {
	case 0:
		return "SELECT count(*), sum(port), min(app) FROM m" + where("")
	case 1:
		return "SELECT app, count(*), " + pick("max(port)", "group_concat(DISTINCT note)", "sum(port) FILTER (WHERE port > 1)") + " FROM m" + where("") +
			" GROUP BY app" + pick("", " HAVING count(*) > 1")
	case 2:
		return "SELECT DISTINCT app" + pick("", ", port") + " FROM m" + where("")
	case 3:
		return "SELECT m.id, m.port, a.owner FROM m " + pick("JOIN", "LEFT JOIN") + " a ON a.name = m.app" + pick("", " AND a.zone = m.port") + where("m.")
	case 4:
		return "SELECT id FROM m" + where("") + pick(" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT ") + "SELECT name FROM a" + pick("", " WHERE zone > 1")
	case 5:
		return "SELECT id, port FROM m" + where("") + " ORDER BY port, id LIMIT " + pick("1", "3")
	case 6:
		return "SELECT id, " + pick("rank() OVER (ORDER BY port)", "(SELECT owner FROM a WHERE name = app AND zone = port)", "sum(port) OVER (PARTITION BY app)") + " FROM m" + where("")
	case 7:
		return "SELECT app, port FROM ports" + pick("", " WHERE app = 'web'")
	}
	return "SELECT " + pick("*", "id, port", "port", "app || id AS x, note", "z.id") + " FROM m " + pick("AS z", "z") + where(pick("z.", ""))
}

// differ watches random queries while it writes at random, and returns those
// whose replayed result was not that of a fresh query at a quiet moment.
func differ(t *testing.T, seed uint64, count int, m live.Mutant) []string {
	n := newNode(t, live.Config{})
	if m != 0 {
		live.Break(n.e, m)
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	readers := map[string]*reader{}
	for len(readers) < count {
		sql := randomQuery(rnd)
		if readers[sql] == nil {
			readers[sql] = n.watch(sql)
		}
	}
	wrong := map[string]bool{}
	workload(n, seed, 40, func() {
		if err := live.Quiet(n.ctx(), n.e); err != nil {
			t.Fatal(err)
		}
		for sql, r := range readers {
			if !wrong[sql] && !r.isFresh(sql) {
				wrong[sql] = true
			}
		}
	})
	return slices.Sorted(maps.Keys(wrong))
}

// isFresh reads all changes that there are, and compares.
func (r *reader) isFresh(sql string) bool {
	for r.w.Check(r.n.ctx(), r.last+1) == nil {
		r.next()
	}
	var got []store.Row
	for _, row := range r.rows {
		got = append(got, row)
	}
	return slices.Equal(texts(got), texts(r.n.query(sql)))
}

func TestWatchedEqualsFresh(t *testing.T) {
	if testing.Short() {
		*queries = min(*queries, 50) // the race detector makes SQLite slow
	}
	for seed := range uint64(max(1, *queries/50)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if wrong := differ(t, seed, 50, 0); len(wrong) > 0 {
				t.Errorf("seed %d: these were told wrongly:\n%s", seed, strings.Join(wrong, "\n"))
			}
		})
	}
}

func TestMutantsAreCaught(t *testing.T) {
	for name, m := range map[string]live.Mutant{
		"tables of subqueries not watched": live.FromOnly, "aggregates over changed rows": live.ChangedRows,
		"one table of a join": live.FirstTable, "a side of OR": live.AnyCondition,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrong := differ(t, 1, 200, m)
			if len(wrong) == 0 {
				t.Error("nobody noticed")
			}
			t.Logf("caught by %d of 200 queries", len(wrong))
		})
	}
}
