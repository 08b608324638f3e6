package live_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// wild makes schemas, queries and writes at random.
type wild struct {
	*rand.Rand
	tables []wildTable
}

type wildTable struct {
	name, sql string
	owned     bool
	key       []string // names as they are written
	columns   []string // stored ones
	all       []string // with generated ones
}

func (w *wild) pick(from ...string) string { return from[w.IntN(len(from))] }

func newWild(seed uint64) *wild {
	w := &wild{Rand: rand.New(rand.NewPCG(seed, 7))}
	for _, name := range []string{"t1", "t2", `"order"`} {
		t := wildTable{name: name, owned: w.IntN(3) == 0}
		var defs []string
		if t.owned {
			t.key, defs = []string{"who"}, []string{"who TEXT NOT NULL"}
		}
		for _, k := range [][]string{{"id"}, {"id", `"Group"`}}[w.IntN(2)] {
			t.key = append(t.key, k)
			defs = append(defs, k+w.pick(" TEXT NOT NULL", " TEXT NOT NULL", " BLOB NOT NULL"))
		}
		for _, c := range []string{"a", `"b c"`, "[select]", "n"} {
			t.columns = append(t.columns, c)
			kind := w.pick(" TEXT", " TEXT COLLATE NOCASE", " TEXT COLLATE NOCASE", " INTEGER", " REAL", " BLOB", " NUMERIC", " TEXT NOT NULL DEFAULT 'd'", "")
			defs = append(defs, c+kind)
		}
		t.all = append(slices.Clone(t.key), t.columns...)
		if w.IntN(2) == 0 {
			t.all = append(t.all, "g")
			defs = append(defs, "g AS ("+w.pick("a || 'web'", "upper(a)", "typeof(n)", "n + 1")+")")
		}
		t.sql = "CREATE TABLE " + name + " (" + strings.Join(defs, ", ") + ", PRIMARY KEY (" + strings.Join(t.key, ", ") + "))" + w.pick("", " WITHOUT ROWID") + ";\n"
		if t.owned {
			t.sql = "-- firebreak: owned by who\n" + t.sql
		}
		w.tables = append(w.tables, t)
	}
	return w
}

func (w *wild) schema() (sql string) {
	for _, t := range w.tables {
		sql += t.sql
	}
	return sql
}

// value is a literal; few, so that conditions meet rows.
func (w *wild) value() string {
	if w.IntN(2) == 0 {
		return w.pick("'web'", "'Web'", "'web'", "'Web'", "1", "1.0", "'1'", "x'776562'")
	}
	return w.pick("'web'", "'Web'", "'db'", "''", "1", "1.0", "'1'", "2", "9223372036854775807", "-9223372036854775808", "1e300", "-0.0", "NULL", "x'00ff'",
		"x'776562'", "'w' || char(0) || 'b'", "'É'", "3", "'01'")
}

func (w *wild) keyValue() string {
	return w.pick("'k1'", "'K1'", "'k2'", "'k3'", "'1'", "'k' || char(0)", "''")
}

func (t wildTable) column(w *wild, q string) string { return q + t.all[w.IntN(len(t.all))] }

func (w *wild) condition(t wildTable, q string) string {
	c, v := t.column(w, q), w.value()
	o := w.tables[w.IntN(len(w.tables))]
	one := w.pick(c+" = "+v, c+" = "+v, c+" == "+v, v+" = "+c, c+" IS "+v, c+" <> "+v, c+" > "+v, "NOT "+c+" = "+v, c+" IN ("+v+", "+w.value()+")", c+" IN ()",
		c+" BETWEEN "+v+" AND "+w.value(), c+" LIKE 'w%'", c+" = "+v+" COLLATE NOCASE", c+" = ("+v+")", "+"+c+" = "+v, c+" = "+t.column(w, q),
		"CASE "+c+" WHEN "+v+" THEN 1 END", c+" IS NOT NULL", c+" = "+v+" /* AND 1 = 2 */", "("+c+", "+t.column(w, q)+") = ("+v+", "+w.value()+")",
		"EXISTS (SELECT 1 FROM "+o.name+" AS x WHERE x.a = "+c+")", c+" IN (SELECT "+o.column(w, "")+" FROM "+o.name+")",
		"(SELECT count(*) FROM "+o.name+") > 2", "typeof("+c+") = 'text'", c+" = "+v+" = 1", c+" GLOB '*b'",
		t.key[len(t.key)-1]+" = "+w.keyValue())
	if w.IntN(3) == 0 {
		return one + w.pick(" AND ", " OR ") + w.condition(t, q)
	}
	return one
}

func (w *wild) where(t wildTable, q string) string {
	if w.IntN(5) == 0 {
		return ""
	}
	return w.pick(" WHERE ", " where ", "\nWHERE -- all of it\n") + w.condition(t, q)
}

func (w *wild) query() string {
	t, o := w.tables[w.IntN(len(w.tables))], w.tables[w.IntN(len(w.tables))]
	c, d := t.column(w, ""), t.column(w, "")
	switch w.IntN(20) {
	case 16, 17, 18, 19: // what is matched
		and := w.pick("", "", " AND "+d+" = "+w.value())
		return "SELECT id, " + c + " FROM " + t.name + " WHERE " + w.pick(c, d) + w.pick(" = ", " == ") + w.value() + and
	case 0:
		return "SELECT " + w.pick("count(*)", "count(DISTINCT "+c+")", "max("+c+"), min("+d+")", "max("+c+", 1), count(*)", "total(n)") + " FROM " + t.name + w.where(t, "")
	case 1:
		return "SELECT " + c + ", count(*) FROM " + t.name + w.where(t, "") + " GROUP BY " + w.pick(c, "1", "typeof("+d+")", c+", "+d, c+" COLLATE NOCASE") + w.pick("", " HAVING count(*) > 1")
	case 2:
		return "SELECT DISTINCT " + c + w.pick("", ", "+d) + " FROM " + t.name + w.where(t, "")
	case 3, 4:
		return "SELECT x." + t.all[0] + ", y." + o.all[len(o.all)-1] + ", x.a FROM " + t.name + " AS x " + w.pick("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL OUTER JOIN", "CROSS JOIN") +
			" " + o.name + " y ON " + w.pick("x.a = y.a", "x.id = y.id AND y.n > 1", "x.n IS y.n") + w.where(t, "x.")
	case 5:
		return "SELECT * FROM " + t.name + " " + w.pick("NATURAL JOIN "+o.name+" AS o", "JOIN "+o.name+" AS o USING (id)", "LEFT JOIN "+o.name+" AS o USING (a)", ", "+o.name+" o")
	case 6:
		return "SELECT " + c + " FROM " + t.name + w.where(t, "") + w.pick(" UNION ", " UNION ALL ", " EXCEPT ", " INTERSECT ") + "SELECT " + o.column(w, "") + " FROM " + o.name + " ORDER BY 1"
	case 7:
		return "SELECT " + c + " FROM " + t.name + w.where(t, "") + " ORDER BY " + strings.Join(t.key, ", ") + " LIMIT 2" + w.pick("", " OFFSET 1")
	case 8:
		return "SELECT id, " + w.pick("row_number() OVER (ORDER BY "+strings.Join(t.key, ", ")+")", "count(*) OVER (PARTITION BY a)", "sum(length(a)) OVER w") + " FROM " + t.name +
			" WINDOW w AS (PARTITION BY n)"
	case 9:
		return "SELECT s.* FROM (SELECT " + c + " AS v, count(*) AS k FROM " + t.name + " GROUP BY 1) AS s " + w.pick("", "WHERE s.k > 1")
	case 10:
		return "WITH s(v) AS (SELECT " + c + " FROM " + t.name + ") SELECT v FROM s " + w.pick("", "WHERE v IN (SELECT a FROM "+o.name+")")
	case 11:
		return "SELECT x.id, j.value FROM " + t.name + " x, json_each('[1, 2, \"web\"]') j WHERE j.value = x.a"
	}
	return "SELECT " + w.pick("*", c, c+" AS "+d+", "+d, "z.*", "typeof("+c+")", c+", (SELECT count(*) FROM "+o.name+")") + " FROM " + t.name + w.pick(" z", " AS z", " 'z'", " AS [z]") +
		w.where(t, w.pick("", "z.")) + w.pick("", " ORDER BY "+c)
}

// write is a transaction of up to four statements by a node.
func (w *wild) write(node string) (out []sqlite.Statement) {
	for range 1 + w.IntN(4) {
		t := w.tables[w.IntN(len(w.tables))]
		key := make([]string, len(t.key))
		for i := range key {
			if key[i] = w.keyValue(); t.owned && i == 0 {
				key[i] = "'" + node + "'"
			}
		}
		mine := ""
		if t.owned {
			mine = " AND who = '" + node + "'"
		}
		var sql string
		switch w.IntN(6) {
		case 0:
			sql = "DELETE FROM " + t.name + " WHERE id = " + w.keyValue() + mine
		case 1:
			sql = "UPDATE " + t.name + " SET " + w.pick(t.columns...) + " = " + w.value() + " WHERE " + w.pick("id > 'k1'", "id = "+w.keyValue(), "1") + mine
		case 2:
			sql = "UPDATE OR REPLACE " + t.name + " SET id = " + w.keyValue() + " WHERE id = " + w.keyValue() + mine
		default:
			cells := make([]string, len(t.columns))
			for i := range cells {
				cells[i] = w.value()
			}
			sql = "INSERT OR REPLACE INTO " + t.name + " (" + strings.Join(append(slices.Clone(t.key), t.columns...), ", ") + ") VALUES (" + strings.Join(append(key, cells...), ", ") + ")"
		}
		out = append(out, sqlite.Statement{SQL: sql})
	}
	return out
}

// peer is a store whose writes another applies.
type peer struct {
	db   *sqlite.DB
	sent record.Version
}

func newPeer(t *testing.T, sql string) *peer {
	tables, err := sqlite.ParseSQL(sql)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "node.db"), Fleet: "f", Cluster: "region/r", Node: "w2", Tables: tables, Durability: sqlite.OS,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &peer{db: db}
}

func (p *peer) sendTo(t *testing.T, n *node) {
	s, err := p.db.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Deliver(p.db.Writer(), record.Range{From: p.sent + 1, To: 1 << 40}, 1<<30)
	_ = s.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range out {
		p.sent = max(p.sent, d.Range.To)
	}
	outcomes, err := n.db.Apply(n.ctx(), out)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if o.Status != store.Applied {
			t.Fatalf("not applied: %+v", o)
		}
	}
}

// Any schema, any query, any writes, of this node and of a peer, over restarts
// and rests: whoever replays a watch has what a fresh query gives.
func TestWatchedEqualsFreshOnAnySchema(t *testing.T) {
	seeds := uint64(max(2, *queries/25))
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runWild(t, seed)
		})
	}
}

func runWild(t *testing.T, seed uint64) {
	w := newWild(seed)
	clock := time.Now()
	n := newNode(t, live.Config{Now: func() time.Time { return clock }}, func(n *node) {
		n.sql, n.more = w.schema(), func(c *sqlite.Config) { c.Views = nil }
	})
	p := newPeer(t, w.schema())
	write := func(db *sqlite.DB, node string) {
		_, _, _ = db.Exec(t.Context(), sqlite.Request{Statements: w.write(node)}) // one that is refused is one more case
	}
	for range 10 {
		write(n.db, "w1")
	}
	readers := map[string]*reader{}
	for tries := 0; len(readers) < 60 && tries < 1000; tries++ {
		sql := w.query()
		if _, err := n.db.Describe(n.ctx(), sqlite.Query{SQL: sql}); err == nil && readers[sql] == nil {
			readers[sql] = n.watch(sql)
		}
	}
	for step := range 40 {
		switch w.IntN(8) {
		case 0:
			for range 3 {
				write(p.db, "w2")
			}
			p.sendTo(t, n)
		case 1:
			n.stop()
			n.start()
			write(n.db, "w1")
			findAll(t, n, readers)
		case 2: // some rest and come back to what happened meanwhile
			for _, sql := range slices.Sorted(maps.Keys(readers)) {
				readers[sql].w.Release()
			}
			n.quiet()
			clock = clock.Add(40 * time.Second)
			live.Sweep(n.e)
			write(n.db, "w1")
			findAll(t, n, readers)
		default:
			write(n.db, "w1")
		}
		n.quiet()
		for sql, r := range readers {
			if !r.isFresh(sql) {
				t.Errorf("seed %d, step %d: %s\ntold  %v\nfresh %v\n%s", seed, step, sql, r.rows, n.query(sql), w.schema())
				delete(readers, sql)
			}
		}
	}
}

func findAll(t *testing.T, n *node, readers map[string]*reader) {
	for sql, r := range readers {
		w, err := n.e.Find(n.ctx(), r.w.ID())
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		r.w = w
	}
}
