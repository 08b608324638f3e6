package sqlite_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

// differential runs the same transactions on plain SQLite and on a node that
// another one follows.
type differential struct {
	*pair
	g    *generator
	base *plain.DB
	log  []string
}

// TestRandomSQLIsWhatPlainSQLiteDoes has random schemas and transactions: each
// statement answers as in plain SQLite, the tables of both nodes hold what
// plain SQLite's does, and a changeset has just the rows that are different.
func TestRandomSQLIsWhatPlainSQLiteDoes(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 8
	}
	var written, refused, nothing int
	for seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			d := newDifferential(t, seed)
			for range 25 {
				switch c, err := d.transaction(); {
				case err != nil:
					refused++
				case c.Records == 0:
					nothing++
				default:
					written++
				}
				if t.Failed() {
					t.Fatalf("after:\n%s", strings.Join(d.log, ";\n"))
				}
			}
			d.agree()
		})
	}
	if all := written + refused + nothing; written < all/4 || refused < all/20 || nothing < all/50 {
		t.Errorf("%d transactions wrote, %d failed, %d changed nothing: that tries too little", written, refused, nothing)
	}
}

func FuzzSQLIsWhatPlainSQLiteDoes(f *testing.F) {
	f.Add(uint64(1000))
	f.Fuzz(func(t *testing.T, seed uint64) {
		d := newDifferential(t, seed)
		for range 10 {
			if _, _ = d.transaction(); t.Failed() {
				t.Fatalf("after:\n%s", strings.Join(d.log, ";\n"))
			}
		}
		d.agree()
	})
}

func newDifferential(t *testing.T, seed uint64) *differential {
	t.Helper()
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 7))}
	sql := g.schema()
	d := &differential{g: g, log: []string{sql}, pair: newPair(t, sql)}
	base, err := plain.Open(filepath.Join(t.TempDir(), "plain.db"), plain.Config{})
	if err == nil {
		t.Cleanup(func() { _ = base.Close() })
		err = base.Script(sql)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.base = base
	return d
}

var errOfOurs = errors.New("ours")

// transaction runs one at both and compares all there is of it.
func (d *differential) transaction() (store.Commit, error) {
	d.tb.Helper()
	stmts := d.g.values(1+d.g.IntN(3), d.g.statement)
	d.log = append(d.log, "BEGIN", strings.Join(stmts, ";\n"), "COMMIT")
	before := d.rows()
	got, commit, ours := d.request(statements(stmts...)...)
	var want []sqlite.Affected
	theirs := d.base.Transaction(func() error {
		for _, s := range stmts {
			a, err := d.plainly(s)
			if err != nil {
				return err
			}
			want = append(want, a)
		}
		if ours != nil {
			return errOfOurs
		}
		return nil
	})
	if ours != nil {
		if errors.Is(theirs, errOfOurs) {
			d.tb.Errorf("refused, and plain SQLite takes it: %v", ours)
		}
		return commit, ours
	}
	if theirs != nil {
		d.tb.Errorf("taken, and plain SQLite refuses it: %v", theirs)
		return commit, nil
	}
	for i := range got {
		got[i].Time = 0
	}
	same(d.tb, "answers", want, got)
	d.send()
	after := d.rows()
	if n := different(before, after); commit.Records != n {
		d.tb.Errorf("%d records, and %d rows are different", commit.Records, n)
	}
	sql := "SELECT * FROM t ORDER BY " + strings.Join(d.g.keys, ", ")
	theirRows := plainRows(d.tb, d.base, sql)
	for i, db := range []*sqlite.DB{d.a, d.b} {
		if diff := cmp.Diff(theirRows, query(d.tb, db, sql)); diff != "" {
			d.tb.Errorf("node %d (-plain +node):\n%s", i+1, diff)
		}
	}
	return commit, nil
}

// plainly runs one statement on plain SQLite.
func (d *differential) plainly(sql string) (out sqlite.Affected, err error) {
	names, err := d.base.StoredNamed(sql, func(r []record.Value) error {
		out.Result = append(out.Result, r)
		return nil
	})
	if err != nil {
		return out, err
	}
	if len(names) > 0 {
		out.Columns = names
	}
	out.Rows = plainRows(d.tb, d.base, "SELECT changes()")[0][0].Int
	return out, nil
}

// rows are those of plain SQLite, by key, without what is generated.
func (d *differential) rows() map[string]store.Row {
	cols := slices.Concat(d.g.keys, d.g.rest)
	for i, c := range cols {
		cols[i] = schema.Quote(c)
	}
	out := map[string]store.Row{}
	for _, r := range plainRows(d.tb, d.base, "SELECT "+strings.Join(cols, ", ")+" FROM t") {
		out[fmt.Sprint(r[:len(d.g.keys)])] = r
	}
	return out
}

func different(before, after map[string]store.Row) int {
	n := 0
	for k, r := range after {
		if !slices.EqualFunc(before[k], r, record.Value.Equal) {
			n++
		}
	}
	for k := range before {
		if after[k] == nil {
			n++
		}
	}
	return n
}
