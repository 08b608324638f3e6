package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSchemaLintNeedsNoNode(t *testing.T) {
	dir := t.TempDir()
	write := func(sql string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "a.sql"), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '');\nDROP INDEX IF EXISTS t_v;")
	if got := run(t, "", "schema", "lint", dir, "-o", "json"); got != (outcome{0, "{\"files\":1,\"warnings\":[]}\n", ""}) {
		t.Errorf("%+v", got)
	}
	write("CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v ANY);")
	if got := run(t, "", "schema", "lint", dir); got.code != 0 || !strings.Contains(got.err, "table t: column v: ANY is no type of SQLite") || got.out != "files that load into an empty region: 1\n" {
		t.Errorf("a type that is none: %+v", got)
	}
	write("CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY);\n\nCREATE TABLE u (id TEXT PRIMARY KEY);")
	for want, args := range map[string][]string{
		"a.sql: schema: line 3: table u": {"schema", "lint", dir},
		"nullable-key":                   {"schema", "lint", dir},
		"no such file":                   {"schema", "lint", filepath.Join(dir, "none")},
		"--node":                         {"schema", "plan", dir},
	} {
		if got := run(t, "", args...); got.code != 2 || !strings.Contains(got.err, want) {
			t.Errorf("%v: %+v, want %q", args, got, want)
		}
	}
}
