package sqlite_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

func foreignFile(t *testing.T, sql string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := plain.Open(path, plain.Config{})
	if err == nil {
		err = errors.Join(db.Script(sql), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Paths are as people write them: below the directory they are in, and with
// what means something in an address.
func TestForeignDatabaseIsFoundByAnyPath(t *testing.T) {
	made := foreignFile(t, `CREATE TABLE t (k PRIMARY KEY)`)
	t.Chdir(filepath.Dir(made))
	for _, path := range []string{"other.db", "./other.db", "a b?c#d%20.db"} {
		if err := os.Link(made, path); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		f, err := sqlite.OpenForeign(path)
		if err != nil {
			t.Fatal(err)
		}
		if tables, err := f.Tables(t.Context()); err != nil || len(tables) != 1 {
			t.Errorf("%s: tables %v, %v", path, tables, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestForeignDatabaseIsReadAsItIs(t *testing.T) {
	path := foreignFile(t, `CREATE TABLE "a ""b" (k, d TIMESTAMP, g AS (k || 'x'), PRIMARY KEY (d, k));
		INSERT INTO "a ""b" (k, d) VALUES (x'', '2026-03-01 10:00:00'), (2, 1700000000000), ('x', NULL);
		CREATE TABLE nokey (v); CREATE VIEW w AS SELECT 1; CREATE VIRTUAL TABLE f USING fts3(body)`)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := sqlite.OpenForeign(path)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := f.Tables(t.Context())
	want := []sqlite.ForeignTable{{Name: `a "b`, Columns: []string{"k", "d"}, Key: []string{"d", "k"}}, {Name: "nokey", Columns: []string{"v"}}}
	if diff := cmp.Diff(want, tables); diff != "" || err != nil {
		t.Fatalf("%v\n%s", err, diff)
	}
	var rows [][]record.Value
	err = f.Rows(t.Context(), tables[0], func(r []record.Value) error { rows = append(rows, slices.Clone(r)); return nil })
	text := func(s string) record.Value { return record.Value{Type: record.Text, Data: s} }
	wantRows := [][]record.Value{
		{text("x"), {}}, {{Type: record.Integer, Int: 2}, {Type: record.Integer, Int: 1700000000000}}, {{Type: record.Blob}, text("2026-03-01 10:00:00")},
	}
	if diff := cmp.Diff(wantRows, rows); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if n, err := f.Count(t.Context(), `a "b`); n != 3 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	stop := errors.New("stop")
	if err := f.Rows(t.Context(), tables[0], func([]record.Value) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a reader that stops: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file is another one: %v", err)
	}
}

func TestWhatIsNoDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	torn := foreignFile(t, "CREATE TABLE t (k PRIMARY KEY, v); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) INSERT INTO t SELECT x, hex(randomblob(50)) FROM n")
	raw, err := os.ReadFile(torn)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(torn, append(raw[:len(raw)/2], bytes.Repeat([]byte{0xa5}, len(raw)/2)...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, text, filepath.Join(dir, "none"), torn} {
		f, err := sqlite.OpenForeign(path)
		if err != nil {
			continue
		}
		tables, err := f.Tables(t.Context())
		for _, table := range tables {
			err = errors.Join(err, f.Rows(t.Context(), table, func([]record.Value) error { return nil }))
		}
		if err == nil {
			t.Errorf("%s is read as if it were sound", path)
		}
		f.Close()
	}
}
