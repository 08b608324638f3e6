package checkpoint_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/checkpoint/child"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// The test binary is also the child.
const (
	childEnv = "FIREBREAK_TEST_CHECKPOINT" // what it does: a key of children
	argEnv   = "FIREBREAK_TEST_ARGUMENT"
)

var children = map[string]func(context.Context, string) error{
	"copy":    func(ctx context.Context, _ string) error { return child.Copy(ctx, os.Stdin, os.Stdout, quiet()) },
	"restore": restoreChild, "both": bothChild, "reverse": reverseChild,
}

func TestMain(m *testing.M) {
	if do := children[os.Getenv(childEnv)]; do != nil {
		if err := do(context.Background(), os.Getenv(argEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// restoreChild restores "CHAIN TO UNIXNANOS".
func restoreChild(ctx context.Context, arg string) error {
	var chain, to string
	var nanos int64
	if _, err := fmt.Sscan(arg, &chain, &to, &nanos); err != nil {
		return err
	}
	var at time.Time
	if nanos > 0 {
		at = time.Unix(0, nanos)
	}
	return child.Restore(ctx, chain, at, to, os.Stderr)
}

// bothChild has the store open a database, and then Litestream.
func bothChild(ctx context.Context, dir string) error {
	db, err := openStore(ctx, filepath.Join(dir, "node.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	order := fmt.Sprintf(`{"Database":%q,"Chain":%q,"State":%q,"Every":100000000}`+"\n", filepath.Join(dir, "node.db"), filepath.Join(dir, "chain"), filepath.Join(dir, "state"))
	return child.Copy(ctx, strings.NewReader(order), os.Stdout, quiet())
}

// reverseChild has Litestream open one, and then the store.
func reverseChild(ctx context.Context, dir string) error {
	_ = child.Restore(ctx, filepath.Join(dir, "nothing"), time.Time{}, filepath.Join(dir, "x.db"), os.Stderr)
	_, err := openStore(ctx, filepath.Join(dir, "node.db"))
	return err
}

func runChild(t *testing.T, what, arg string) (string, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what, argEnv+"="+arg)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const testTables = `
-- firebreak: owned by worker
CREATE TABLE machines (worker TEXT NOT NULL, id TEXT NOT NULL, app TEXT, PRIMARY KEY (worker, id));
-- firebreak: local
CREATE TABLE scratch (id INTEGER PRIMARY KEY, v);
`

func openStore(ctx context.Context, path string) (*sqlite.DB, error) {
	return openStoreOf(ctx, path, "w1")
}

func openStoreOf(ctx context.Context, path, node string) (*sqlite.DB, error) {
	tables, err := sqlite.ParseSQL(testTables)
	if err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, sqlite.Config{Path: path, Fleet: "test", Cluster: "region/iad", Node: record.Node(node), Tables: tables, Durability: sqlite.OS})
}

// Two SQLites in one process would not see each other's locks.
func TestAProcessOpensDatabasesWithOneSQLiteOnly(t *testing.T) {
	for _, what := range []string{"both", "reverse"} {
		out, err := runChild(t, what, t.TempDir())
		if err == nil || !strings.Contains(out, "may open no database in this process") {
			t.Errorf("%s: %v: %s", what, err, out)
		}
	}
}
