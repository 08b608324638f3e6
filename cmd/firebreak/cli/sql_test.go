package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cli"
	"github.com/firebreak-dev/firebreak/internal/identity"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

func TestExecIsOneTransaction(t *testing.T) {
	n := startNode(t)
	got := n.ok("", "exec", `INSERT INTO machines (id, port) VALUES (?, ?), (?, 7) RETURNING id; -- of one
		UPDATE machines SET app = 'a;b' WHERE id = ?`, "m1", "80", "m2", "m1", "-o", "json")
	var a struct {
		Results []struct {
			Affected int64   `json:"rows_affected"`
			Rows     [][]any `json:"rows"`
		}
		Changed  int
		Points   []string
		Standing []string
	}
	if err := json.Unmarshal([]byte(got), &a); err != nil || len(a.Results) != 2 || a.Results[0].Affected != 2 || len(a.Results[0].Rows) != 2 ||
		a.Results[1].Affected != 1 || a.Changed != 2 || len(a.Points) != 1 {
		t.Fatalf("%s %v", got, err)
	}
	n.ok("", "wait", a.Points[0])
	if again := n.ok("", "exec", "UPDATE machines SET app = 'a;b' WHERE id = ?", "m1"); !strings.Contains(again, "1 rows affected, nothing changed: as in "+a.Points[0]) {
		t.Errorf("the same again: %s", again)
	}
	if minus := n.run("", "exec", "UPDATE machines SET port = ?", "-5"); minus.code != 2 || !strings.Contains(minus.err, "stands behind --") {
		t.Errorf("a negative argument: %+v", minus)
	}
	bad := n.run("", "exec", "INSERT INTO machines (id) VALUES ('m3'); INSERT INTO nosuch VALUES (1)")
	if bad.code != 1 || !strings.Contains(bad.err, "statement 2") || !strings.Contains(bad.err, "nosuch") {
		t.Errorf("a transaction of which one statement fails: %v", bad)
	}
	if got := n.rows("SELECT id, app, port FROM machines ORDER BY id"); got != `{"columns":["id","app","port"]}`+"\n"+`{"row":["m1","a;b",80]}`+"\n"+`{"row":["m2","",7]}`+"\n" {
		t.Error(got)
	}
	n.ok("INSERT INTO types VALUES (?, ?, ?, ?, ?);", "exec", "--file", "-", "t1", "9007199254740993", "2.0", `"007"`, `{"blob":"00ff"}`)
	if got := n.rows("SELECT * FROM types"); !strings.Contains(got, `["t1",9007199254740993,2.0,"007",{"blob":"00ff"}]`) {
		t.Error(got)
	}
}

func TestExecRefusesBeforeItAsks(t *testing.T) {
	for _, args := range [][]string{
		{"exec"}, {"exec", ";;"}, {"exec", "INSERT INTO t VALUES (?)"}, {"exec", "DELETE FROM t", "1"}, {"exec", "DELETE FROM t WHERE a = 'x"},
		{"exec", "DELETE FROM t /* open"}, {"exec", "--file", "/none"}, {"exec", "DELETE FROM t", "--node", "x:0"}, {"exec", "DELETE FROM t"},
	} {
		if got := run(t, "", args...); got.code != 2 {
			t.Errorf("%v: %v", args, got)
		}
	}
}

func TestScriptOfTheShell(t *testing.T) {
	n := startNode(t)
	got := n.ok(`
# a note
INSERT INTO machines (id, app)
  VALUES ('m1', 'two
lines');  INSERT INTO machines (id) VALUES ('m;2');
.mode csv
SELECT id, app, port FROM machines ORDER BY id;
.mode line
SELECT id, port FROM machines WHERE id = 'm1';
.mode json
WITH x AS (SELECT 'new' AS id) INSERT INTO machines (id) SELECT id FROM x;
WITH x AS (SELECT 1 AS one) SELECT * FROM x
`, "sql")
	for _, want := range []string{"id,app,port\nm1,\"two\nlines\",\nm;2,,\n", "  id = m1\nport = NULL\n", `"rows_affected":1`, `{"columns":["one"],"rows":[[1]]}`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := n.ok(".tables m%\n.schema pairs\n", "sql"); !strings.Contains(got, "machines\nmine\n") || strings.Contains(got, "fleet_") || !strings.Contains(got, "PRIMARY KEY") {
		t.Errorf("tables and schema:\n%s", got)
	}
	if got := n.run(".timer on\nSELECT 1;\n", "sql"); got.code != 0 || !strings.Contains(got.err, "run time: ") {
		t.Error(got)
	}
}

func TestErrorEndsAScriptUnlessToldNotTo(t *testing.T) {
	n := startNode(t)
	script := "SELEC 1;\nDROP TABLE machines;\n.nosuch\n.mode none\nCOMMIT;\nINSERT INTO machines (id) VALUES ('after');\n"
	if got := n.run(script, "sql"); got.code != 1 || strings.Count(got.err, "error:") != 1 {
		t.Error(got)
	}
	if got := n.rows("SELECT count(*) FROM machines"); !strings.Contains(got, "[0]") {
		t.Errorf("a script went on after an error: %s", got)
	}
	if got := n.run(script, "sql", "--keep-going"); got.code != 1 || strings.Count(got.err, "error:") != 5 {
		t.Error(got)
	}
	if got := n.rows("SELECT count(*) FROM machines"); !strings.Contains(got, "[1]") {
		t.Errorf("the script did not go on: %s", got)
	}
	if got := n.run("CREATE TABLE own (k TEXT PRIMARY KEY);", "sql"); got.code != 1 {
		t.Error(got)
	}
	n.ok("CREATE TABLE own (k TEXT PRIMARY KEY); INSERT INTO own VALUES ('x');", "sql", "--local")
}

// follower runs a command in the background.
type follower struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	stop context.CancelFunc
	done chan int
}

func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.buf.Write(p)
}

func (f *follower) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.buf.String()
}

func (n *realNode) follow(args ...string) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{stop: cancel, done: make(chan int, 1)}
	go func() {
		f.done <- cli.Main(ctx, cli.Config{Args: append(args, "--socket", n.socket), In: strings.NewReader(""), Out: f, Err: f, Version: "test"})
	}()
	n.t.Cleanup(cancel)
	return f
}

func TestWatchOfASelectGoesOnOverARestart(t *testing.T) {
	n := startNode(t)
	n.ok("", "exec", "INSERT INTO machines (id, app, port) VALUES ('m1', 'web', 80), ('m2', 'db', 1)")
	f := n.follow("watch", "SELECT id, port FROM machines WHERE app = ?", "--arg", "web", "-o", "json")
	seen := func(what string) func() bool { return func() bool { return strings.Contains(f.text(), what) } }
	eventually(t, "the rows", seen(`{"event":"row","row_id":1,"cells":["m1",80]}`+"\n"+`{"event":"synced","change":0}`))
	n.ok("", "exec", "INSERT INTO machines (id, app) VALUES ('m3', 'web')")
	eventually(t, "an insert", seen(`{"event":"insert","row_id":2,"cells":["m3",null],"change":1}`))
	n.stop()
	eventually(t, "the loss", seen("lost the node, trying again"))
	n.start()
	n.ok("", "exec", "DELETE FROM machines WHERE id = 'm1'; UPDATE machines SET port = 5 WHERE id = 'm3'")
	eventually(t, "what came after", seen(`{"event":"delete","row_id":1,"cells":["m1",80],"change":`))
	eventually(t, "what came after", seen(`{"event":"update","row_id":2,"cells":["m3",5],"change":3}`))
	f.stop()
	if code := <-f.done; code != 0 || strings.Contains(f.text(), "resync") || strings.Count(f.text(), `"event":"row"`) != 1 {
		t.Errorf("exit %d\n%s", code, f.text())
	}
	if got := n.ok("", "watch", "SELECT id FROM machines ORDER BY id", "--once"); got != "= id\n+ m2\n+ m3\n= synced\n" {
		t.Error(got)
	}
}

func TestWatchOfASelectRefuses(t *testing.T) {
	n := startNode(t)
	for sql, want := range map[string]string{"SELECT nosuch FROM machines": "no such column", "DELETE FROM machines": "", "SELECT random() FROM machines": ""} {
		if got := n.run("", "watch", sql); got.code != 1 || !strings.Contains(got.err, want) || got.out != "" {
			t.Errorf("%s: %v", sql, got)
		}
	}
	if got := n.run("", "watch", "web", "--arg", "x"); got.code != 2 {
		t.Error(got)
	}
}

// slowed is a region node that writes more than its budget.
type slowed struct{ fakeRegion }

func (*slowed) Exec(context.Context, *regionpb.ExecRequest) (*regionpb.ExecResponse, error) {
	return &regionpb.ExecResponse{Results: []*regionpb.StatementResult{{RowsAffected: 1}}, Written: &regionpb.Written{Changed: 1, DelayedMs: 1500}}, nil
}

func TestExecSaysHowLongTheBudgetDelayedIt(t *testing.T) {
	f := newFleet(t)
	node := f.region(&slowed{})
	for _, format := range []string{"json", "ndjson"} {
		got := run(t, "", append([]string{"exec", "DELETE FROM t", "-o", format, "--node", node}, f.as(identity.Operator)...)...)
		if got.code != 0 || !strings.Contains(got.out, `"delayed_ms":1500`) {
			t.Errorf("as %s: %v", format, got)
		}
	}
}
