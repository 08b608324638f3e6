package sqlite_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// pair is a node that writes and one that is sent all of it.
type pair struct {
	tb     testing.TB
	tables []schema.Table
	a, b   *sqlite.DB
	sent   record.Version
}

func newPair(tb testing.TB, sql string) *pair {
	tb.Helper()
	p := &pair{tb: tb, tables: parse(tb, sql)}
	dir := tb.TempDir()
	// Without waiting for the disk: what is written is in question, not when.
	p.a = openAt(tb, filepath.Join(dir, "a.db"), sqlite.Config{Tables: p.tables, Durability: sqlite.OS})
	p.b = openAt(tb, filepath.Join(dir, "b.db"), sqlite.Config{Tables: p.tables, Durability: sqlite.OS, Node: "w2"})
	return p
}

// request runs statements at a as one transaction.
func (p *pair) request(stmts ...sqlite.Statement) ([]sqlite.Affected, store.Commit, error) {
	return p.a.Exec(p.tb.Context(), sqlite.Request{Statements: stmts})
}

func statements(sql ...string) []sqlite.Statement {
	var out []sqlite.Statement
	for _, s := range sql {
		out = append(out, sqlite.Statement{SQL: s})
	}
	return out
}

// write runs one transaction at a and sends it to b.
func (p *pair) write(sql ...string) ([]sqlite.Affected, store.Commit) {
	p.tb.Helper()
	out, c, err := p.request(statements(sql...)...)
	if err != nil {
		p.tb.Fatalf("%q: %v", sql, err)
	}
	p.send()
	return out, c
}

// refused runs one transaction at a that must fail.
func (p *pair) refused(want string, sql ...string) {
	p.tb.Helper()
	if _, _, err := p.request(statements(sql...)...); err == nil || !strings.Contains(err.Error(), want) {
		p.tb.Errorf("%q: error %v, want %q", sql, err, want)
	}
}

// send brings to b what a has written since the last time.
func (p *pair) send() {
	p.tb.Helper()
	s, err := p.a.Snapshot(p.tb.Context())
	if err != nil {
		p.tb.Fatal(err)
	}
	defer s.Close()
	out, err := s.Deliver(p.a.Writer(), record.Range{From: p.sent + 1, To: 1 << 40}, 1<<30)
	if err != nil {
		p.tb.Fatal(err)
	}
	for _, d := range out {
		p.sent = max(p.sent, d.Range.To)
	}
	for _, o := range apply(p.tb, p.b, out...) {
		if o.Status != store.Applied || o.Withheld > 0 {
			p.tb.Fatalf("outcome %+v: %v", o, withheld(p.tb, p.b))
		}
	}
}

// agree checks that both nodes show the same of every table, and of all books
// the same fingerprints.
func (p *pair) agree() {
	p.tb.Helper()
	for _, t := range p.tables {
		if t.Kind == 0 {
			continue
		}
		sql := fmt.Sprintf("SELECT * FROM %s ORDER BY %s", schema.Quote(t.Name), order(t))
		if diff := cmp.Diff(query(p.tb, p.a, sql), query(p.tb, p.b, sql)); diff != "" {
			p.tb.Errorf("table %s (-writer +reader):\n%s", t.Name, diff)
		}
	}
	w := p.a.Writer()
	of := func(db *sqlite.DB) []store.WriterState {
		return slices.DeleteFunc(states(p.tb, db), func(s store.WriterState) bool { return s.Writer != w })
	}
	same(p.tb, "state of the writer", of(p.a), of(p.b))
	recount(p.tb, p.a)
	recount(p.tb, p.b)
}

func order(t schema.Table) string {
	var key []string
	for _, k := range t.Key {
		key = append(key, schema.Quote(k.Name))
	}
	return strings.Join(key, ", ")
}

// shows checks what a query gives at both nodes, as rows of text.
func (p *pair) shows(sql string, want ...string) {
	p.tb.Helper()
	p.agree()
	for i, db := range []*sqlite.DB{p.a, p.b} {
		var got []string
		for _, r := range query(p.tb, db, sql) {
			var cols []string
			for _, v := range r {
				cols = append(cols, v.String())
			}
			got = append(got, strings.Join(cols, "|"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			p.tb.Errorf("node %d: %s (-want +got):\n%s", i+1, sql, diff)
		}
	}
}

// exchange brings to each node all that the other has written.
func (p *pair) exchange() {
	p.tb.Helper()
	a, b := deliverAll(p.tb, p.a, p.a.Writer()), deliverAll(p.tb, p.b, p.b.Writer())
	apply(p.tb, p.a, b...)
	apply(p.tb, p.b, a...)
}
