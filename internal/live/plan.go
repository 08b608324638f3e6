package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// RefusedError says why a query cannot be watched.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

func refused(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...)}
}

// plan is how a query is watched.
type plan struct {
	sql     string         // the query, with the columns of identity after its own
	args    []record.Value // of the query
	columns []string       // what the client sees
	extra   int            // how many columns of sql are not the client's
	ids     []int          // places of the columns of identity in a row of sql
	whole   bool           // the whole row is its identity; equal rows are told apart by their number
	tables  []string       // what it depends on
	schema  int64          // the version of the schema that it was made for, or an earlier one
	point   *point         // how to look at single rows; nil if the query must be run as a whole
}

// point asks a query of one table for the rows with some keys.
type point struct {
	table   string
	head    string   // up to the condition on keys
	key     []string // key columns, as they are to be written
	literal int      // parameters of the query
	match   *match   // nil if every change of the table must be looked at
}

// match is a condition that every row of the query fulfils: a stored column
// that equals one of some values, type and bytes.
type match struct {
	column int // in a row of the table
	values []record.Value
}

// query is how watches ask the store.
func query(sql string, args []record.Value) sqlite.Query {
	return sqlite.Query{Caller: "a watch", SQL: sql, Args: args, Watch: true}
}

// newPlan decides how to watch a query.
func (e *Engine) newPlan(ctx context.Context, sql string, args []record.Value) (*plan, error) {
	db := e.cfg.DB
	version := db.SchemaVersion()
	stmt, keyword, err := sqltext.Single(sql)
	if err != nil {
		return nil, &RefusedError{err.Error()}
	}
	if keyword != "SELECT" && keyword != "WITH" && keyword != "VALUES" {
		return nil, refused("only a SELECT can be watched, and this is %s", keyword)
	}
	d, err := db.Describe(ctx, query(stmt, nil))
	if err != nil {
		return nil, describeError(err)
	}
	if d.Parameters != len(args) {
		return nil, refused("the statement has %d parameters, %d values are given", d.Parameters, len(args))
	}
	tables, err := dependencies(db, d)
	if err != nil {
		return nil, err
	}
	if err := checkConstant(ctx, db, stmt, args, d.Functions); err != nil {
		return nil, err
	}
	sh := parseShape(stmt)
	p := &plan{sql: stmt, args: args, columns: d.Columns, tables: d.Tables, whole: true, schema: version}
	p.identify(ctx, db, sh, tables)
	err = p.pointed(ctx, db, sh, tables)
	if e.mutate != nil {
		e.mutate(p, sh)
	}
	return p, err
}

// describeError tells a refusal of the query from trouble of the store.
func describeError(err error) error {
	if errors.Is(err, store.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &RefusedError{strings.TrimPrefix(err.Error(), "query: ")}
}

// dependencies returns the replicated tables that a query reads, or says which
// of its tables tells nobody of its changes.
func dependencies(db *sqlite.DB, d sqlite.Description) (map[string]schema.Table, error) {
	known := map[string]schema.Table{}
	for _, t := range db.Tables() {
		known[t.Name] = t
	}
	out := map[string]schema.Table{}
	for _, name := range d.Tables {
		t, ok := known[name]
		switch {
		case strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, "pragma_") || strings.HasPrefix(name, "_fb_"):
			return nil, refused("table %s is the database's own: it cannot be watched", name)
		case !ok || t.Kind == 0:
			return nil, refused("table %s is local to this node: its changes are not followed, so it cannot be watched", name)
		}
		out[name] = t
	}
	if len(out) == 0 {
		return nil, refused("at least 1 table is required in FROM / JOIN clause")
	}
	return out, nil
}

// identify adds the columns by which rows are told apart, if there are such.
func (p *plan) identify(ctx context.Context, db *sqlite.DB, sh shape, tables map[string]schema.Table) {
	var extra []string
	var ids []int
	width := len(p.columns)
	switch {
	case sh.compound || sh.distinct || sh.fromAt == 0:
		return
	case sh.aggregate:
		p.whole = false
		return
	case sh.grouped:
		for _, term := range sh.group {
			if n, err := strconv.Atoi(term); err == nil && n >= 1 && n <= width {
				ids = append(ids, n-1)
				continue
			}
			ids = append(ids, width+len(extra))
			extra = append(extra, term)
		}
	default:
		if sh.opaque || len(sh.from) == 0 {
			return
		}
		for _, src := range sh.from {
			t, ok := tables[src.name]
			if !ok {
				return // a view: its rows have no key of their own
			}
			for _, k := range t.Key {
				ids = append(ids, width+len(extra))
				extra = append(extra, src.alias+"."+schema.Quote(k.Name))
			}
		}
	}
	sql := p.sql
	if len(extra) > 0 {
		sql = sh.sql[:sh.fromAt] + ", " + strings.Join(extra, ", ") + " " + sh.sql[sh.fromAt:]
	}
	d, err := db.Describe(ctx, query(sql, nil))
	if err != nil || len(d.Columns) != width+len(extra) || !slices.Equal(d.Columns[:width], p.columns) || d.Parameters != len(p.args) {
		return
	}
	p.sql, p.extra, p.ids, p.whole = sql, len(extra), ids, false
}

// pointed finds out whether single rows of the query can be looked at.
func (p *plan) pointed(ctx context.Context, db *sqlite.DB, sh shape, tables map[string]schema.Table) error {
	if p.whole || sh.aggregate || sh.grouped || sh.windows || sh.limited || sh.nested || len(sh.from) != 1 || len(tables) != 1 {
		return nil
	}
	t := tables[sh.from[0].name]
	pt := &point{table: t.Name, literal: len(p.args)}
	for _, k := range t.Key {
		pt.key = append(pt.key, sh.from[0].alias+"."+schema.Quote(k.Name))
	}
	pt.head = sh.sql[:sh.fromAt] + ", " + strings.Join(pt.key, ", ") + " FROM " + sh.sources + " WHERE "
	if sh.condition != "" {
		pt.head += "(" + sh.condition + "\n) AND "
	}
	// What comes after the condition (ORDER BY) is left out; it may hold parameters.
	d, err := db.Describe(ctx, query(pt.sql(1), nil))
	if err != nil || d.Parameters != len(p.args)+len(pt.key) || !slices.Equal(d.Tables, p.tables) {
		return nil
	}
	collated, err := hasCollation(ctx, db, t.Name)
	if err != nil {
		return err
	}
	if !collated {
		pt.match = findMatch(sh, t, p.args)
	}
	p.point = pt
	return nil
}

// sql asks for the rows with n keys, whose values follow the query's own.
func (pt *point) sql(n int) string {
	var b strings.Builder
	b.WriteString(pt.head)
	number := pt.literal
	next := func() string { number++; return "?" + strconv.Itoa(number) }
	if n == 1 {
		for i, k := range pt.key {
			if i > 0 {
				b.WriteString(" AND ")
			}
			b.WriteString(k + " = " + next())
		}
		return b.String()
	}
	b.WriteString("(" + strings.Join(pt.key, ", ") + ") IN (VALUES ")
	for i := range n {
		values := make([]string, len(pt.key))
		for j := range values {
			values[j] = next()
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + strings.Join(values, ", ") + ")")
	}
	b.WriteString(")")
	return b.String()
}

// hasCollation reports whether a table compares some column otherwise than
// byte by byte.
func hasCollation(ctx context.Context, db *sqlite.DB, table string) (bool, error) {
	found := false
	q := query("SELECT sql FROM sqlite_schema WHERE lower(name) = ?", []record.Value{record.Of(table)})
	_, err := db.Query(ctx, q, func(_ []string, r store.Row) error {
		found = found || r != nil && contains(sqltext.Lex(r[0].Data), "COLLATE")
		return nil
	})
	return found, err
}
