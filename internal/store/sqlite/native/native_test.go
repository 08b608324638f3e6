package native_test

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/native"
)

// conn is one connection to a database in memory, with its statements.
type conn struct {
	t   testing.TB
	c   *sqlite3.SQLiteConn
	out native.Out
}

func open(t testing.TB) *conn {
	t.Helper()
	dc, err := (&sqlite3.SQLiteDriver{}).Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{t: t, c: dc.(*sqlite3.SQLiteConn)}
	t.Cleanup(func() {
		c.out.Free()
		if err := c.c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *conn) script(sql string) {
	c.t.Helper()
	if _, err := c.c.Exec(sql, nil); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conn) prepare(sql string) native.Stmt {
	c.t.Helper()
	p, err := c.c.Prepare(sql)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = p.Close() })
	s, err := native.Of(p.(*sqlite3.SQLiteStmt))
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func pack(vals ...record.Value) (b []byte) {
	for _, v := range vals {
		b = record.AppendValue(b, v)
	}
	return b
}

var strange = []record.Value{
	{}, record.Of(0), record.Of(-1), record.Of(math.MaxInt64), record.Of(math.MinInt64),
	record.Of(1.5), record.Of(math.Inf(-1)), record.Of(math.Copysign(0, -1)),
	record.Of(""), record.Of("a\x00b"), record.Of("\xff"), record.Of(string(make([]byte, 300))),
	record.Of([]byte{}), record.Of([]byte{0, 1}), record.Of(make([]byte, 70_000)),
}

func TestValuesComeBackAsTheyWent(t *testing.T) {
	c := open(t)
	rows, done, err := c.prepare("SELECT ?, 7").Run(&c.out, pack(strange...), len(strange))
	if err != nil || done != len(strange) {
		t.Fatal(done, err)
	}
	for _, want := range strange {
		got, ok := rows.Next(nil)
		if !ok {
			t.Fatal("no row for", want)
		}
		if diff := cmp.Diff([]record.Value{want, record.Of(7)}, got); diff != "" {
			t.Error(diff)
		}
		if _, more := rows.Next(nil); more {
			t.Error("a second row for", want)
		}
	}
}

func TestRunStopsAtTheRowThatFails(t *testing.T) {
	c := open(t)
	c.script("CREATE TABLE t (a INTEGER CHECK (a <> 3))")
	s := c.prepare("INSERT INTO t VALUES (?)")
	_, done, err := s.Run(&c.out, pack(record.Of(1), record.Of(2), record.Of(3), record.Of(4)), 4)
	var e sqlite3.Error
	if done != 2 || !errors.As(err, &e) || e.Code != sqlite3.ErrConstraint || e.ExtendedCode != sqlite3.ErrConstraintCheck {
		t.Fatalf("done %d, %v", done, err)
	}
	if want := "CHECK constraint failed: a <> 3"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if _, _, err := s.Run(&c.out, pack(record.Of(4)), 1); err != nil {
		t.Fatal("after a failure:", err)
	}
	rows, _, err := c.prepare("SELECT count(*), sum(a) FROM t").Run(&c.out, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := rows.Next(nil)
	if diff := cmp.Diff([]record.Value{record.Of(3), record.Of(7)}, got); diff != "" {
		t.Error(diff)
	}
}

func TestManyRowsOfManyRuns(t *testing.T) {
	c := open(t)
	s := c.prepare("WITH RECURSIVE n(i) AS (SELECT 1 WHERE ?1 > 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT i FROM n")
	rows, _, err := s.Run(&c.out, pack(record.Of(0), record.Of(3), record.Of(0), record.Of(1)), 4)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{0, 3, 0, 1} {
		n := 0
		for {
			if _, more := rows.Next(nil); !more {
				break
			}
			n++
		}
		if n != want {
			t.Errorf("%d rows, want %d", n, want)
		}
	}
}

func TestFlagAndFramesOfAConnection(t *testing.T) {
	dc, err := (&sqlite3.SQLiteDriver{}).Open("file:" + t.TempDir() + "/a.db")
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{t: t, c: dc.(*sqlite3.SQLiteConn)}
	c.script("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0")
	p, err := c.c.Prepare("SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := native.Of(p.(*sqlite3.SQLiteStmt))
	if err != nil {
		t.Fatal(err)
	}
	st, err := native.Attach(s, "flag", "log", 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Free()
	defer c.c.Close()
	defer c.out.Free()
	defer p.Close()
	get := func() int64 {
		q, err := c.c.Prepare("SELECT flag()")
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		n, err := native.Of(q.(*sqlite3.SQLiteStmt))
		if err != nil {
			t.Fatal(err)
		}
		rows, _, err := n.Run(&c.out, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := rows.Next(nil)
		return v[0].Int
	}
	if get() != 0 {
		t.Error("the flag is set at first")
	}
	st.Set(true)
	if get() != 1 {
		t.Error("the flag is not set")
	}
	calls := func() (out [][]record.Value, over bool) {
		over, err := st.Calls(func(args []record.Value) error {
			out = append(out, args)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return out, over
	}
	c.script("SELECT log(NULL, x'', 'a', -1, 1.5), log()")
	want := [][]record.Value{{{}, record.Of([]byte{}), record.Of("a"), record.Of(-1), record.Of(1.5)}, {}}
	if got, over := calls(); over || !cmp.Equal(want, got) {
		t.Errorf("logged %v, over %v", got, over)
	}
	if _, err := c.c.Exec("SELECT log(zeroblob(1001))", nil); err == nil {
		t.Error("logged more than the limit")
	}
	if got, over := calls(); !over || len(got) != 1 {
		t.Errorf("%d calls, over %v", len(got), over)
	}
	if got, over := calls(); over || len(got) != 0 {
		t.Errorf("then %d calls, over %v", len(got), over)
	}
	c.script("CREATE TABLE t (a)")
	if n := st.Frames(); n == 0 {
		t.Error("no frames after a commit")
	}
}

func BenchmarkRun(b *testing.B) {
	c := open(b)
	s := c.prepare("SELECT ?")
	for _, n := range []int{1, 100} {
		args := make([]byte, 0, 9*n)
		for i := range n {
			args = record.AppendValue(args, record.Of(i))
		}
		b.Run(map[int]string{1: "runs=1", 100: "runs=100"}[n], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.Run(&c.out, args, n); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/run")
		})
	}
}
