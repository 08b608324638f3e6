package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/region"
)

// realNode is a region node of one with a schema, which can be restarted.
type realNode struct {
	t      *testing.T
	cfg    region.Config
	socket string
	stop   func()
}

const nodeSchema = `
CREATE TABLE machines (id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL DEFAULT '', port INTEGER, doc TEXT, name TEXT AS (json_extract(doc, '$.name')));
CREATE TABLE types (id TEXT NOT NULL PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB);
CREATE TABLE pairs (a TEXT NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b));
CREATE TABLE strict (id INTEGER NOT NULL PRIMARY KEY, n INTEGER NOT NULL, x ANY) STRICT;
-- firebreak: owned by worker
CREATE TABLE mine (worker TEXT NOT NULL, id TEXT NOT NULL, v TEXT, PRIMARY KEY (worker, id));
`

func startNode(t *testing.T) *realNode {
	t.Helper()
	f := newFleet(t)
	dir, err := os.MkdirTemp("", "fb") // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	schema := filepath.Join(dir, "schema")
	if err := os.Mkdir(schema, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(schema, "a.sql"), []byte(nodeSchema), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := identity.Load(f.files(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"}))
	if err != nil {
		t.Fatal(err)
	}
	n := &realNode{t: t, socket: filepath.Join(dir, "w1.sock"), cfg: region.Config{
		Fleet: "acme", Region: "iad", Node: "w1", Generation: quic.Generation{Number: 1, Bits: 7},
		Data: filepath.Join(dir, "w1"), Identity: source, Gossip: "127.0.0.1:0", GRPC: "127.0.0.1:0",
		Socket: filepath.Join(dir, "w1.sock"), Schema: schema, Durability: sqlite.OS, Version: "test",
	}}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

func (n *realNode) start() {
	n.t.Helper()
	rn, err := region.New(n.t.Context(), n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rn.Run(ctx) }()
	n.stop = func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("node: %v", err)
		}
		n.stop = func() {}
	}
}

// run runs a command on the node.
func (n *realNode) run(stdin string, args ...string) outcome {
	n.t.Helper()
	return run(n.t, stdin, append(args, "--socket", n.socket)...)
}

// ok runs a command that must succeed, and returns what it printed.
func (n *realNode) ok(stdin string, args ...string) string {
	n.t.Helper()
	got := n.run(stdin, args...)
	if got.code != 0 {
		n.t.Fatalf("%v: %v", args, got)
	}
	return got.out
}

func (n *realNode) rows(sql string) string {
	n.t.Helper()
	return n.ok("", "sql", sql, "-o", "ndjson")
}

// file writes a file and returns its path.
func (n *realNode) file(name, text string) string {
	n.t.Helper()
	path := filepath.Join(n.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// eventually looks until what is seen is wanted.
func eventually(t *testing.T, what string, look func() bool) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !look() {
		select {
		case <-deadline:
			t.Fatalf("not within 20s: %s", what)
		case <-tick.C:
		}
	}
}
