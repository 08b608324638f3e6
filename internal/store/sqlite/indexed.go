package sqlite

import (
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
