package sqlite

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/sqltext"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/native"
)

// A statement that is let through holds no end of one outside of quotes and
// comments. (What SQLite would see differently is never run: only the first
// statement of a text is prepared.)
func FuzzSingleStatement(f *testing.F) {
	for _, s := range []string{
		"SELECT 1", "SELECT ';' -- ;\n", "/* ; */ SELECT \"a;\", [b;], `c;` ; -- end", "SELECT x';' ; SELECT 2",
		"SELECT 'it''s;'", "SELECT 1 /* open", "SELECT 'open ; SELECT 2", ";;", "SELECT 1;;", "SELECT 1e5.x;", "select $a::b(;)",
	} {
		f.Add(s)
	}
	c, err := openDSN("file::memory:?mode=memory&cache=private")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.close() })
	f.Fuzz(func(t *testing.T, sql string) {
		stmt, keyword, err := sqltext.Single(sql)
		if err != nil || !strings.HasPrefix(keyword, "SELECT") {
			return
		}
		s, err := c.c.Prepare(stmt)
		if err != nil {
			return
		}
		defer s.Close()
		for _, tok := range sqltext.Lex(stmt) {
			if tok.Is(";") {
				t.Errorf("%q holds the end of a statement", stmt)
			}
		}
	})
}

// Parameters have the numbers and names that SQLite gives them, whatever way
// they are written and whatever stands around them.
func TestParametersAreThoseOfSQLite(t *testing.T) {
	c, err := openDSN("file::memory:?mode=memory&cache=private")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.close() })
	pieces := []string{
		"?", "?1", "?2", "?07", "?3x", "?2e1", "?9.", ":a", ":b", "@a", "$a", "$a::b", ":a::b::c", "::", ":1", "@2b", "$a(b)", ":a(b,'c)", "$ü", ":_",
		"x'00'", "'?1'", "':a'", "\"?\"", "[:a]", "`?`", "-- ?\n", "/* :a */", "1", "1e5", ".5", "0x1F", "a$b", ", ", ",", " ", "+", "(", ")", "-", "AS z", "\n",
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	accepted := 0
	try := func(sql string) {
		p, err := c.c.Prepare(sql)
		if err != nil {
			return
		}
		s := p.(*sqlite3.SQLiteStmt)
		defer s.Close()
		n, err := native.Of(s)
		if err != nil {
			return
		}
		accepted++
		if want, got := n.Params(), sqltext.Parameters(sql); !slices.Equal(got, want) {
			t.Errorf("seed %d: %q: parameters are %q, SQLite's %q", seed, sql, got, want)
		}
	}
	for _, a := range pieces {
		for _, b := range pieces {
			try("SELECT " + a + b)
			try("SELECT " + a + ", " + b)
			try("SELECT " + a + ", " + b + ", ?, " + a)
		}
	}
	for range 20_000 {
		sql := "SELECT "
		for range 1 + rnd.IntN(8) {
			sql += pieces[rnd.IntN(len(pieces))]
		}
		try(sql)
	}
	if accepted < 1000 {
		t.Errorf("only %d statements were accepted", accepted)
	}
}

func TestSingleFindsTheEnd(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT 1":                          "SELECT 1",
		"SELECT 1;":                         "SELECT 1",
		"SELECT ';' ; -- done; really":      "SELECT ';' ",
		"/* a; */ SELECT [;], \";\", `;` ;": "/* a; */ SELECT [;], \";\", `;` ",
		"SELECT 'it''s;';;":                 "SELECT 'it''s;'",
	} {
		if got, keyword, err := sqltext.Single(in); err != nil || got != want || keyword != "SELECT" {
			t.Errorf("%q: %q, %q, %v", in, got, keyword, err)
		}
	}
}
