package sqlite_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// generator makes schemas and the statements of a user. The same seed makes the
// same.
type generator struct {
	*rand.Rand
	keys, rest []string // columns of the table t
	keyType    string
	strict     bool
}

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

// schema makes a CREATE TABLE of t, with indexes.
func (g *generator) schema() string {
	g.keyType = pick(g, "TEXT", "TEXT", "INTEGER", "BLOB", "", "VARCHAR(20)", "INT")
	g.strict = g.one(4)
	if g.strict {
		g.keyType = pick(g, "TEXT", "INT", "ANY")
	}
	var defs []string
	for i := range 1 + g.IntN(2) {
		g.keys = append(g.keys, fmt.Sprintf("k%d", i))
		defs = append(defs, fmt.Sprintf("k%d %s NOT NULL", i, g.keyType))
	}
	for i := range 1 + g.IntN(4) {
		g.rest = append(g.rest, fmt.Sprintf("c%d", i))
		typ := pick(g, "", "TEXT", "INTEGER", "REAL", "BLOB", "TIMESTAMP", "BOOLEAN", "ANY")
		if g.strict {
			typ = pick(g, "TEXT", "INTEGER", "REAL", "BLOB", "ANY")
		}
		def := fmt.Sprintf("c%d %s", i, typ)
		if !g.strict {
			def += pick(g, "", "", " NOT NULL DEFAULT 7", " DEFAULT 'x'", " DEFAULT (1 + 1)", " DEFAULT -0.5", " NOT NULL DEFAULT ''")
		}
		def += pick(g, "", "", fmt.Sprintf(" CHECK (c%d IS NOT 3)", i), " COLLATE NOCASE")
		defs = append(defs, def)
	}
	key := "PRIMARY KEY (" + strings.Join(g.keys, ", ") + ")"
	if g.one(3) {
		defs = append(defs, "g "+pick(g, "TEXT", "ANY", "INT")+" AS ("+pick(g, "typeof(c0)", "c0 || k0", "length(c0)")+") "+pick(g, "VIRTUAL", "STORED"))
	}
	// Keys first, last or between: what SELECT * shows is as it was declared.
	g.Shuffle(len(defs), func(i, j int) { defs[i], defs[j] = defs[j], defs[i] })
	options := "WITHOUT ROWID"
	if g.strict {
		options += ", STRICT"
	}
	sql := fmt.Sprintf("CREATE TABLE t (%s, %s) %s;\n", strings.Join(defs, ", "), key, options)
	if g.one(2) {
		sql += "CREATE INDEX t_i ON t (" + pick(g, "c0", "c0 DESC, k0", "lower(c0)") + ")" + pick(g, "", " WHERE c0 IS NOT NULL") + ";\n"
	}
	return sql
}

// keyValue is one of few, so that statements meet. REAL is no key.
func (g *generator) keyValue() string {
	n := g.IntN(6)
	switch {
	case g.keyType == "INTEGER" || g.keyType == "INT":
		return fmt.Sprint(n)
	case g.keyType == "TEXT" && g.strict || g.one(2):
		return fmt.Sprintf("'%d'", n)
	case g.one(3):
		return fmt.Sprintf("x'3%d'", n)
	}
	return fmt.Sprint(n)
}

func (g *generator) value() string {
	return pick(g, "NULL", "0", "1", "3", "-1", "1.0", "1.5", "-0.0", "'1'", "'a'", "'A'", "''", "x''", "x'00ff'", "CAST(x'610062' AS TEXT)", "CAST(x'ff' AS TEXT)",
		schema.Literal(record.Of(math.MaxInt64)), schema.Literal(record.Of(math.MinInt64)), "9e999", "9e999 - 9e999", "'1e3'", "' 42 '", "json_object('a', 1)", "1 = 1")
}

func (g *generator) values(n int, of func() string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = of()
	}
	return out
}

// some are columns beyond the key, at least one, in any order.
func (g *generator) some() []string {
	out := slices.Clone(g.rest)
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:1+g.IntN(len(out))]
}

func (g *generator) sets(from string) string {
	var out []string
	for _, c := range g.some() {
		v := pick(g, g.value(), c, pick(g, g.rest...))
		if from != "" && g.one(2) {
			v = from + "." + c
		}
		out = append(out, c+" = "+v)
	}
	return strings.Join(out, ", ")
}

func (g *generator) where() string {
	c := pick(g, g.rest...)
	return pick(g, "", " WHERE k0 = "+g.keyValue(), " WHERE k0 IN ("+strings.Join(g.values(3, g.keyValue), ", ")+")",
		" WHERE k0 > "+g.keyValue(), " WHERE "+c+" IS "+g.value(), " WHERE "+c+" IS NOT NULL", " WHERE EXISTS (SELECT 1 FROM t AS o WHERE o."+c+" = t."+c+" AND o.k0 <> t.k0)")
}

func (g *generator) returning() string {
	return pick(g, "", "", " RETURNING *", " RETURNING k0, typeof("+pick(g, g.rest...)+")")
}

func (g *generator) insert() string {
	cols := g.some()
	var rows []string
	for range 1 + g.IntN(3) {
		rows = append(rows, "("+strings.Join(slices.Concat(g.values(len(g.keys), g.keyValue), g.values(len(cols), g.value)), ", ")+")")
	}
	verb := pick(g, "INSERT", "INSERT", "REPLACE", "INSERT OR REPLACE", "INSERT OR IGNORE", "INSERT OR ABORT", "INSERT OR FAIL")
	source := "VALUES " + strings.Join(rows, ", ")
	if g.one(4) {
		source = "SELECT " + strings.Join(slices.Concat(g.keys, cols), ", ") + " FROM t" + pick(g, "", " WHERE true LIMIT 2")
		source = strings.Replace(source, "k0", pick(g, "k0", g.keyValue()), 1) + " "
		if !strings.Contains(source, "WHERE") {
			source += "WHERE true" // else ON CONFLICT reads as of a join
		}
	}
	sql := fmt.Sprintf("%s INTO t (%s) %s", verb, strings.Join(slices.Concat(g.keys, cols), ", "), source)
	if verb == "INSERT" && g.one(2) {
		sql += " ON CONFLICT " + pick(g, "DO NOTHING", "("+strings.Join(g.keys, ", ")+") DO UPDATE SET "+g.sets("excluded"))
		if strings.Contains(sql, "DO UPDATE") {
			sql += pick(g, "", " WHERE t.c0 IS NOT excluded.c0")
		}
	}
	return sql + g.returning()
}

func (g *generator) update() string {
	set := g.sets("")
	if g.one(3) {
		set += ", k0 = " + pick(g, g.keyValue(), g.keyValue(), map[bool]string{true: "k0 + 1", false: "k0 || '0'"}[strings.HasPrefix(g.keyType, "INT")])
	}
	from := ""
	if g.one(5) {
		from = " FROM (SELECT " + g.value() + " AS x) AS o"
		set += ", c0 = o.x"
		if strings.Contains(g.sets(""), "c0") {
			set = "c0 = o.x"
		}
	}
	return pick(g, "UPDATE", "UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE") + " t SET " + set + from + g.where() + g.returning()
}

func (g *generator) statement() string {
	switch g.IntN(10) {
	case 0, 1:
		return "DELETE FROM t" + g.where() + g.returning()
	case 2, 3, 4:
		return g.update()
	case 5:
		return "WITH x AS (SELECT * FROM t LIMIT 2) DELETE FROM t WHERE k0 IN (SELECT k0 FROM x)" + g.returning()
	}
	return g.insert()
}
