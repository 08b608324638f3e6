package shell_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/shell"
)

// database keeps what it is asked.
type database struct{ asked []string }

func (d *database) Query(_ context.Context, sql string) (shell.Result, error) {
	d.asked = append(d.asked, "read "+sql)
	return shell.Result{}, d.judge(sql)
}

func (d *database) Exec(_ context.Context, sql string) (shell.Result, error) {
	d.asked = append(d.asked, "write "+sql)
	return shell.Result{Wrote: true}, d.judge(sql)
}

func (d *database) judge(sql string) error {
	if strings.Contains(sql, "bad") {
		return errors.New("bad")
	}
	return nil
}

// person types lines; an empty one after a statement has begun throws it away.
type person struct {
	lines      []string
	remembered []string
}

func (p *person) Line(more bool) (string, error) {
	if len(p.lines) == 0 {
		return "", io.EOF
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	if more && line == "" {
		return "", shell.ErrDropped
	}
	return line, nil
}

func (p *person) Remember(text string) { p.remembered = append(p.remembered, text) }

func TestPersonGoesOnAfterErrorsAndDropsLines(t *testing.T) {
	var db database
	p := &person{lines: []string{"SELECT bad;", "SELECT", "", ".nosuch", "INSERT INTO t", "VALUES (1); SELECT 2;", "SELECT 3", ".quit", ""}}
	var out, errs strings.Builder
	if err := shell.Run(t.Context(), shell.Config{DB: &db, Lines: p, Out: &out, Err: &errs}); err != nil {
		t.Fatal(err)
	}
	want := []string{"read SELECT bad", "write INSERT INTO t\nVALUES (1)", "read SELECT 2"}
	if diff := cmp.Diff(want, db.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if n := strings.Count(errs.String(), "error: "); n != 2 || len(p.remembered) != 4 {
		t.Errorf("%d errors told, remembered %q", n, p.remembered)
	}
}

func TestReadsAndWrites(t *testing.T) {
	for sql, want := range map[string]bool{
		"SELECT 1": true, "/* a */ select 1": true, "VALUES (1)": true, "EXPLAIN DELETE FROM t": true, "PRAGMA table_list": true, "": true,
		"WITH a AS (SELECT 1), b(x) AS (VALUES (2)) SELECT * FROM a": true, "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a": false,
		"WITH a AS (SELECT 1) UPDATE t SET x = (SELECT 1)": false, "WITH RECURSIVE a AS (SELECT 1) REPLACE INTO t SELECT 1": false,
		"INSERT INTO t SELECT 1": false, "DROP TABLE t": false, "COMMIT": false, "nonsense": false,
	} {
		if got := shell.Reads(sql); got != want {
			t.Errorf("%q reads: %v", sql, got)
		}
	}
}

func TestSplitKnowsTextsNamesAndComments(t *testing.T) {
	stmts, rest := shell.Split("SELECT ';', \";\", [;] -- ;\n; /* ; */ ;; INSERT INTO t VALUES ('a\n;') ; SELECT 'open;")
	if diff := cmp.Diff([]string{"SELECT ';', \";\", [;] -- ;", "INSERT INTO t VALUES ('a\n;')"}, stmts); diff != "" || rest != " SELECT 'open;" {
		t.Errorf("%s rest %q", diff, rest)
	}
}

func TestScriptMayBeginWithItsEncoding(t *testing.T) {
	for _, script := range []string{"\xef\xbb\xbfSELECT 2;\r\nSELECT\r\n3;\r\n", "\xef\xbb\xbfSELECT 2;\nSELECT\n3;"} {
		var db database
		err := shell.Run(t.Context(), shell.Config{DB: &db, Lines: shell.NewScript(strings.NewReader(script)), Out: io.Discard, Err: io.Discard, Script: true})
		if diff := cmp.Diff([]string{"read SELECT 2", "read SELECT\n3"}, db.asked); diff != "" || err != nil {
			t.Errorf("%q: %v, asked (-want +got):\n%s", script, err, diff)
		}
	}
}

func TestStatementWithoutEndIsDropped(t *testing.T) {
	var db database
	var errs strings.Builder
	script := strings.Repeat("SELECT 1 +\n", 200_000) + ";\nSELECT 2;\n"
	err := shell.Run(t.Context(), shell.Config{DB: &db, Lines: shell.NewScript(strings.NewReader(script)), Out: io.Discard, Err: &errs, Script: true, KeepGoing: true})
	var failed *shell.FailedError
	if !errors.As(err, &failed) || !strings.Contains(errs.String(), "over 1048576 bytes") || db.asked[len(db.asked)-1] != "read SELECT 2" {
		t.Errorf("%v: %s", err, errs.String())
	}
}

// Statements come out alike whether a text is read at once or line by line.
func FuzzScript(f *testing.F) {
	for _, s := range []string{"SELECT 1;\nSELECT\n2;", ".tables\n;", "INSERT INTO t VALUES ('\n;');-- x\n", "/* open ;\n", "\x00;\n.mode json\nSELECT '", ". \n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var db database
		err := shell.Run(t.Context(), shell.Config{DB: &db, Lines: shell.NewScript(strings.NewReader(text)), Out: io.Discard, Err: io.Discard, Script: true, KeepGoing: true})
		var failed *shell.FailedError
		if err != nil && !errors.As(err, &failed) {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, ".") || strings.HasPrefix(trimmed, "#") || strings.Contains(line, "\r") {
				return // the shell's own
			}
		}
		stmts, rest := shell.Split(text + "\n")
		more := len(db.asked) - len(stmts)
		if more != 0 && (more != 1 || strings.TrimSpace(rest) == "") {
			t.Errorf("%q: at once %q, by line %q", text, stmts, db.asked)
		}
	})
}
