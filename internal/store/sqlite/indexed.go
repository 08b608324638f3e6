package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// An UPDATE costs a page of every index that one of its columns is in, also if
// the value stays. So there is one more, of the columns that no index needs,
// for the rows of which nothing else has changed.

// indexedColumns returns the columns that indexes of s need, by name.
func indexedColumns(s schema.Table) map[string]bool {
	out := map[string]bool{}
	var need func(sql string)
	need = func(sql string) {
		for _, t := range sqltext.Lex(sql) {
			name := schema.Lower(t.Ident())
			if t.Kind == sqltext.Comment || out[name] {
				continue
			}
			if g := slices.IndexFunc(s.Generated, func(g schema.Generated) bool { return g.Name == name }); g >= 0 {
				out[name] = true
				need(s.Generated[g].Expr)
			} else if s.Index(name) >= 0 {
				out[name] = true
			}
		}
	}
	for _, x := range s.Indexes {
		need(x.Terms + " " + x.Where)
	}
	return out
}

// addCold completes t with the update of columns that no index needs.
func (t *table) addCold() {
	indexed := indexedColumns(t.Table)
	var set []string
	for i, c := range t.Columns {
		if at := len(t.Key) + i; indexed[c.Name] {
			t.hotAt = append(t.hotAt, at)
		} else {
			t.coldAt = append(t.coldAt, at)
			set = append(set, schema.Quote(c.Name))
		}
	}
	if len(set) > 0 && len(t.hotAt) > 0 {
		t.cold = fmt.Sprintf("UPDATE %s SET %s WHERE %s", schema.Quote(t.Name), equal(set, "", ", "), equal(quoteAll(t.Names()[:len(t.Key)]), "", " AND "))
	}
}

// staysIndexed reports whether t.cold makes row of old.
func (t *table) staysIndexed(old, row store.Row) bool {
	return t.cold != "" && !slices.ContainsFunc(t.hotAt, func(at int) bool { return !old[at].Equal(row[at]) })
}

// coldValues are what t.cold sets.
func (t *table) coldValues(row store.Row) []record.Value {
	out := make([]record.Value, len(t.coldAt))
	for i, at := range t.coldAt {
		out[i] = row[at]
	}
	return out
}

// createIndexes makes the indexes of t that are missing or have another
// statement, and drops those that a schema had and t has not. What another
// program has made is left alone.
func createIndexes(c *conn, t *table) error {
	type made struct {
		table, sql string
		ours       bool
	}
	have := map[string]made{}
	err := c.rows(context.Background(), `SELECT name, lower(tbl_name), sql, name IN (SELECT name FROM _fb_local_indexes) FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL`, nil, func(r []record.Value) error {
		have[schema.Lower(r[0].Data)] = made{r[1].Data, r[2].Data, r[3].Int != 0}
		return nil
	})
	if err != nil {
		return err
	}
	for _, x := range t.Indexes {
		was, there := have[x.Name]
		if there && was.table != t.Name {
			return fmt.Errorf("index %s: an index of table %s has the name", x.Name, was.table)
		}
		if sql := x.SQL(t.Name); was.sql != sql {
			if err := c.script("DROP INDEX IF EXISTS " + schema.Quote(x.Name) + "; " + sql); err != nil {
				return fmt.Errorf("index %s: %w", x.Name, err)
			}
		}
		if err := c.exec(`INSERT OR REPLACE INTO _fb_local_indexes VALUES (?)`, cmp.Or(x.Spelled, x.Name)); err != nil {
			return err
		}
		delete(have, x.Name)
	}
	for name, was := range have {
		if was.table == t.Name && was.ours {
			if err := c.script("DROP INDEX " + schema.Quote(name)); err != nil {
				return fmt.Errorf("index %s: %w", name, err)
			}
		}
	}
	// REPLACE is half the work of UPDATE, but it sets every index, and would
	// drop rows for a unique one that somebody else has made.
	other, err := c.row(`SELECT count(*) FROM pragma_index_list(?) WHERE origin <> 'pk'`, t.Name)
	if err == nil && other[0].Int > 0 {
		t.replace = ""
	}
	return err
}
