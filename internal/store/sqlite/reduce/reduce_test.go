package reduce_test

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/reduce"
)

func rows(vals ...[]any) [][]record.Value {
	var out [][]record.Value
	for _, r := range vals {
		var row []record.Value
		for _, v := range r {
			row = append(row, record.Of(v))
		}
		out = append(out, row)
	}
	return out
}

func TestAggregatesAcrossRows(t *testing.T) {
	in := rows([]any{"web", 3}, []any{"db", 1}, []any{"web", 4})
	columns, got, err := reduce.Rows(t.Context(), []string{"app", "n"}, in, "SELECT app, sum(n) AS n FROM rows GROUP BY app ORDER BY 2 DESC LIMIT 1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"app", "n"}, columns); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(rows([]any{"web", 7}), got); diff != "" {
		t.Error(diff)
	}
}

func TestValuesComeOutAsTheyWentIn(t *testing.T) {
	in := rows([]any{nil}, []any{int64(math.MinInt64)}, []any{math.Copysign(0, -1)}, []any{"1"}, []any{"a\x00b\xff"}, []any{[]byte{}}, []any{[]byte{0, 1}})
	_, got, err := reduce.Rows(t.Context(), []string{"v"}, in, "SELECT v FROM rows ORDER BY rowid")
	if err != nil {
		t.Fatal(err)
	}
	for i := range in {
		if !in[i][0].Equal(got[i][0]) {
			t.Errorf("value %d: in %v, out %v", i, in[i][0], got[i][0])
		}
	}
}

func TestColumnsThatShareANameGetOthers(t *testing.T) {
	columns, _, err := reduce.Rows(t.Context(), []string{"id", "ID", "", `a"b`}, nil, "SELECT * FROM rows")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"id", "ID_2", "column", `a"b`}, columns); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.db")
	for _, sql := range []string{
		"DELETE FROM rows", "INSERT INTO rows VALUES (1)", "CREATE TABLE t (a)", "ATTACH '" + file + "' AS x",
		"PRAGMA user_version", "SELECT load_extension('x')", "VACUUM INTO '" + file + "'", "BEGIN", "", "SELECT 1 WHERE ?", "nonsense", "SELECT 1; SELECT 2", "SELECT 1;; DELETE FROM rows", "SELECT 1; --\n x",
		"SELECT 'a\x00b'", "-- nothing", "COMMIT", "EXPLAIN SELECT 1", "SELECT zeroblob(1000000000)", "WITH x AS (SELECT 1) DELETE FROM rows",
	} {
		if _, _, err := reduce.Rows(t.Context(), []string{"a"}, rows([]any{1}), sql); err == nil {
			t.Errorf("%q was allowed", sql)
		} else if strings.HasPrefix(sql, "DELETE") && !strings.Contains(err.Error(), "nothing but read") {
			t.Errorf("%q: %v, want what is allowed", sql, err)
		}
	}
}

// Whatever a statement is, it answers with rows of its columns, or an error.
func FuzzRows(f *testing.F) {
	for _, sql := range []string{"SELECT * FROM rows", "SELECT a, count(*) FROM rows GROUP BY 1;", "VALUES (1, 'x'), (2, NULL) -- ;", "SELECT 1; SELECT 2", "DELETE FROM rows"} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		columns, out, err := reduce.Rows(ctx, []string{"a", "b"}, rows([]any{1, "x"}, []any{nil, []byte{}}), sql)
		for _, r := range out {
			if err != nil || len(r) != len(columns) {
				t.Errorf("%q: a row of %d under %d columns, %v", sql, len(r), len(columns), err)
			}
		}
	})
}

func TestEndlessStatementIsCut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, _, err := reduce.Rows(ctx, []string{"a"}, rows([]any{1}), "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n")
	if err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("err %v after %v", err, time.Since(begun))
	}
}
