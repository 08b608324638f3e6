package region_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// post sends JSON to a path below /v1.
func (n *node) post(path, body string) (int, string) {
	n.t.Helper()
	res, err := http.Post("http://"+n.addr.HTTP+"/v1/"+path, "application/json", strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// transact writes, and returns what readers wait for.
func (n *node) transact(body string) (after string) {
	n.t.Helper()
	status, text := n.post("transactions", body)
	var a struct {
		Version uint64 `json:"version"`
		Actor   string `json:"actor_id"`
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil || status != http.StatusOK || a.Version == 0 {
		n.t.Fatalf("%s: %d %s", body, status, text)
	}
	return fmt.Sprintf("%s:%d", a.Actor, a.Version)
}

// newClusterWith starts nodes with schema files, and waits until they see each
// other.
func newClusterWith(t *testing.T, sql string, names ...string) *cluster {
	t.Helper()
	c := newCluster(t)
	c.schema = t.TempDir()
	if err := os.WriteFile(filepath.Join(c.schema, "users.sql"), []byte(sql), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if n := c.start(name); i == 0 {
			c.seeds = []string{n.addr.Gossip}
		}
	}
	c.together()
	return c
}

// documentSQL keeps a document for each row and reads it through computed
// columns, as users of Corrosion do.
const documentSQL = `
CREATE TABLE containers (
	id   TEXT NOT NULL PRIMARY KEY,
	host TEXT NOT NULL DEFAULT '',
	doc  TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(doc)),
	name TEXT AS (json_extract(doc, '$.name')),
	seen TIMESTAMP
);
CREATE INDEX containers_name ON containers (name);
`

func TestDocumentsWithComputedColumnsOnThreeNodes(t *testing.T) {
	t.Parallel()
	c := newClusterWith(t, documentSQL, "w1", "w2", "w3")
	at := c.nodes["w1"].transact(`[["INSERT INTO containers (id, host, doc, seen) VALUES (?, ?, ?, ?), ('c2', 'h', '{}', 1706842979630)", ["c1", "h", {"name": "first", "n": 9007199254740993}, "2026-03-01 10:00:00"]]]`)
	for _, name := range []string{"w2", "w3"} {
		n := c.nodes[name]
		_, text := n.post("queries?after="+at+"&after_timeout=15", `"SELECT id, name, json_extract(doc, '$.n'), seen FROM containers ORDER BY id"`)
		for _, want := range []string{`["c1","first",9007199254740993,"2026-03-01 10:00:00"]`, `["c2",null,null,1706842979630]`, `{"eoq"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s in\n%s", name, want, text)
			}
		}
		if _, text := n.post("queries", `"EXPLAIN QUERY PLAN SELECT id FROM containers WHERE name = 'first'"`); !strings.Contains(text, "containers_name") {
			t.Errorf("%s does not use the index on a computed column: %s", name, text)
		}
		if status, text := n.post("queries", `"SELECT * FROM crsql_changes"`); status != http.StatusBadRequest || !strings.Contains(text, "?after=") {
			t.Errorf("%s: private tables: %d %s", name, status, text)
		}
	}
	status, text := c.nodes["w1"].post("transactions", `["INSERT INTO containers (id) VALUES ('c3')", "INSERT INTO containers (id, doc) VALUES ('c4', '{')"]`)
	if status != http.StatusInternalServerError || strings.Count(text, `"error"`) != 1 || !strings.Contains(text, `"version":null`) {
		t.Errorf("a document that is none: %d %s", status, text)
	}
	at = c.nodes["w2"].transact(`["DELETE FROM containers WHERE id = 'c2'"]`)
	for _, n := range c.nodes {
		if _, text := n.post("queries?after="+at+"&after_timeout=15", `"SELECT count(*), max(id) FROM containers"`); !strings.Contains(text, `[1,"c1"]`) {
			t.Errorf("%s: %s", n.name, text)
		}
	}
}

// A barrier for what never comes ends in time, and says so.
func TestReadBarrierEnds(t *testing.T) {
	t.Parallel()
	c := newClusterWith(t, documentSQL, "w1", "w2")
	actor, _, _ := strings.Cut(c.nodes["w1"].transact(`["INSERT INTO containers (id) VALUES ('c1')"]`), ":")
	for after, want := range map[string]int{actor + ":99": 504, "00000000000040008000000000000000:1": 404, actor: 400, "x:1": 400} {
		if status, text := c.nodes["w2"].post("queries?after_timeout=0.2&after="+after, `"SELECT 1"`); status != want {
			t.Errorf("after %s: %d %s", after, status, text)
		}
	}
}

var shellBlock = regexp.MustCompile("(?s) *```sh\n(.*?)```")

func TestCorrosionGuideCommandsWork(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "sed", "grep", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the guide's commands need %s", tool)
		}
	}
	t.Parallel()
	guide, err := os.ReadFile("../docs/guides/from-corrosion.md")
	if err != nil {
		t.Fatal(err)
	}
	c := newClusterWith(t, "CREATE TABLE notes (k TEXT NOT NULL PRIMARY KEY, n INTEGER);", "w1", "w2")
	a, b := c.nodes["w1"], c.nodes["w2"]
	var out []string
	for _, block := range shellBlock.FindAllStringSubmatch(string(guide), -1) {
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", block[1])
		cmd.Env = append(os.Environ(), "NODE_A="+a.addr.HTTP, "NODE_B="+b.addr.HTTP, "CORROSION="+b.addr.HTTP)
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, block[1], text)
		}
		out = append(out, string(text))
	}
	if len(out) != 2 || !strings.Contains(out[0], `"row":[1,["a",1]]`) {
		t.Fatalf("the commands answer\n%q", out)
	}
	sums := strings.Fields(out[1])
	if len(sums) != 4 || sums[0] != sums[2] {
		t.Errorf("two equal tables compare as\n%s", out[1])
	}
}
