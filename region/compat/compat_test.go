package compat_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/region/compat"
)

func TestTransactions(t *testing.T) {
	s := newServer(t, compat.Config{})
	for _, c := range []struct {
		body   string
		status int
		want   string // what the answer holds
	}{
		{`[["INSERT INTO machines (id, app, port) VALUES (?, ?, ?)", ["m1", "web", 80]]]`, 200, `{"results":[{"rows_affected":1,"time":T}],"time":T,"version":1,"actor_id":A}`},
		{`["INSERT INTO machines (id, app) VALUES ('m2', 'web')", ["UPDATE machines SET port = :p WHERE app = :a", {":p": 81, ":a": "web"}]]`, 200, `[{"rows_affected":1,"time":T},{"rows_affected":2,"time":T}],"time":T,"version":2,`},
		{`[["UPDATE machines SET port = :p", {"p": 81}]]`, 500, `{"results":[{"error":"Invalid parameter name: p"}],"time":T,"version":null,"actor_id":A}`},
		{`[{"query": "UPDATE machines SET port = ? WHERE id = ?", "params": [82, "m1"], "named_params": null}]`, 200, `"rows_affected":1`},
		{`[{"query": "UPDATE machines SET port = @p WHERE id = $id", "params": null, "named_params": {"@p": 83, "$id": "m1"}}]`, 200, `"rows_affected":1`},
		{`[["UPDATE machines SET port = 1 WHERE id = ?", ["none"]]]`, 200, `{"results":[{"rows_affected":0,"time":T}],"time":T,"version":null,"actor_id":A}`},
		{`["SELECT 1"]`, 500, `"version":null`},
		{`[["INSERT INTO machines (id) VALUES (?)", ["m9"]], "INSERT INTO nosuch VALUES (1)"]`, 500, `no such table: nosuch`},
		{`[["INSERT INTO machines (id) VALUES (?)", ["m1"]]]`, 500, `UNIQUE constraint failed: machines.id`},
		{`[]`, 400, `{"results":[{"error":"at least 1 statement is required"}],"time":T,"version":null`},
		{`nonsense`, 400, `Failed to parse the request body as JSON`},
		{`null`, 422, `expected a sequence`},
		{"[[\"INSERT INTO machines (id) VALUES (?)\", [\"m7\\ud800\"]]]", 400, `Failed to parse the request body as JSON: half of a surrogate pair`},
		{"[[\"INSERT INTO machines (id) VALUES (?)\", [\"m7\xff\"]]]", 400, `Failed to parse the request body as JSON: invalid unicode`},
		{`{"a": 1}`, 422, `expected a sequence`},
		{`[1]`, 422, `[0]: data is no statement`},
		{`[["SELECT 1", 5]]`, 422, `data is no statement`},
		{`["COMMIT"]`, 500, `COMMIT`},
		{`["INSERT INTO machines (id) VALUES ('m7'); DELETE FROM machines"]`, 500, `one statement`},
		{`["DROP TABLE machines"]`, 500, ``},
		{`["PRAGMA journal_mode = DELETE"]`, 500, `PRAGMA`},
		{`["ATTACH 'x' AS y"]`, 500, `ATTACH`},
		{`["-- nothing"]`, 500, `empty`},
		{`["INSERT INTO machines (id) VALUES ('r1'), ('r2'), ('r3') RETURNING id", "UPDATE machines SET app = 'r' WHERE id LIKE 'r%' RETURNING app", "DELETE FROM machines WHERE id LIKE 'r%' RETURNING id", "INSERT INTO machines (id) VALUES ('last') ; -- end"]`, 200, `[{"rows_affected":3,"time":T},{"rows_affected":3,"time":T},{"rows_affected":3,"time":T},{"rows_affected":1,"time":T}]`},
	} {
		status, text := s.ask("POST", "/v1/transactions", c.body)
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s\n%d %s\nwant %d %s", c.body, status, text, c.status, c.want)
		}
	}
	if _, text := s.ask("POST", "/v1/queries", `"SELECT count(*) FROM machines WHERE id IN ('m9', 'm7', 'r1')"`); !strings.Contains(text, `[1,[0]]`) {
		t.Errorf("something of a refused transaction was kept: %s", text)
	}
	s.write(`["INSERT INTO machines (id) VALUES ('after')"]`)
}

func TestEveryValueComesBack(t *testing.T) {
	s := newServer(t, compat.Config{})
	s.write(`[["INSERT INTO types VALUES (?, ?, ?, ?, ?)", ["t1", true, 1.5, "x\u00e9", [0, 1, 255]]],
		["INSERT INTO types (id, i, t) VALUES (?, ?, ?)", ["t2", -9223372036854775808, null]],
		["INSERT INTO types VALUES (?, ?, ?, ?, ?)", ["t3", 9007199254740993, 2, {"k": [1]}, []]],
		["INSERT INTO types VALUES (?, ?, ?, ?, ?)", ["t4", 9223372036854775808, 1e300, [1, 256], [1, 2.5]]]]`)
	_, text := s.ask("POST", "/v1/queries", `"SELECT *, typeof(i), typeof(t), typeof(b) FROM types ORDER BY id"`)
	want := `{"columns":["id","i","r","t","b","typeof(i)","typeof(t)","typeof(b)"]}
{"row":[1,["t1",1,1.5,"xé",[0,1,255],"integer","text","blob"]]}
{"row":[2,["t2",-9223372036854775808,null,null,null,"integer","null","null"]]}
{"row":[3,["t3",9007199254740993,2.0,"{\"k\": [1]}",[],"integer","text","blob"]]}
{"row":[4,["t4",9.223372036854776e18,1e300,"[1, 256]","[1, 2.5]","real","text","text"]]}
{"eoq":{"time":T}}
`
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	_, text = s.ask("POST", "/v1/queries", `["SELECT 9e999, 9223372036854775807, 2.0, 1e300, ?, ?", [-0.0, "\u0000<"]]`)
	if !strings.Contains(text, `[1,[null,9223372036854775807,2.0,1e300,-0.0,"\u0000<"]]`) {
		t.Errorf("edges: %s", text)
	}
}

func TestQueries(t *testing.T) {
	s := newServer(t, compat.Config{})
	s.write(`["INSERT INTO machines (id, app) VALUES ('m1', 'web')"]`)
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"", `"SELECT id FROM machines WHERE 0"`, 200, "{\"columns\":[\"id\"]}\n{\"eoq\":{\"time\":T}}\n"},
		{"", `["SELECT id FROM machines WHERE app = :a", {":a": "web"}]`, 200, `{"row":[1,["m1"]]}`},
		{"", `"SELEC 1"`, 400, `{"error":`},
		{"", `"SELECT * FROM nosuch"`, 400, `no such table: nosuch`},
		{"", `"DELETE FROM machines"`, 400, `statement is not readonly`},
		{"", `"INSERT INTO machines (id) VALUES ('x') RETURNING id"`, 400, `statement is not readonly`},
		{"", `["SELECT ?, ?", [1]]`, 500, `got 1, needed 2`},
		{"?timeout=1", `"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"`, 200, "{\"columns\":[\"count(*)\"]}\n{\"error\":\"interrupted"},
		{"", `"SELECT abs(id) FROM (SELECT 1 AS id UNION ALL SELECT -9223372036854775808)"`, 200, "{\"columns\":[\"abs(id)\"]}\n{\"row\":[1,[1]]}\n{\"error\":\"integer overflow\"}\n"},
		{"", `{"query": 1}`, 422, `no statement`},
		{"?timeout=x", `"SELECT 1"`, 400, `timeout`},
		{"", `"SELECT * FROM crsql_changes"`, 400, `?after=ACTOR_ID:VERSION`},
		{"", `"SELECT * FROM __corro_bookkeeping"`, 400, `?after=ACTOR_ID:VERSION`},
		{"", `"SELECT * FROM machines__crsql_clock"`, 400, `?after=ACTOR_ID:VERSION`},
		{"", `"SELECT crsql_db_version()"`, 400, `?after=ACTOR_ID:VERSION`},
	} {
		status, text := s.ask("POST", "/v1/queries"+c.path, c.body)
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s\n%d %s\nwant %d %s", c.body, status, text, c.status, c.want)
		}
	}
}

func TestWhatIsNoRequest(t *testing.T) {
	s := newServer(t, compat.Config{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/v1/transactions", 405}, {"GET", "/v1/nosuch", 404}, {"POST", "/v1/migrations", 404}, {"POST", "/v1/table-stats", 404},
		{"POST", "/v1/updates/nosuch", 400}, {"GET", "/v1/subscriptions/abc", 400},
		{"GET", "/v1/subscriptions/00000000-0000-4000-8000-000000000000", 404},
	} {
		if status, text := s.ask(c.method, c.path, `[]`); status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, status, text, c.status)
		}
	}
	if res := s.request(h1, "POST", "/v1/transactions", "[]", "Content-Type", "text/plain"); res.StatusCode != 415 {
		t.Errorf("no JSON: %d", res.StatusCode)
	}
	for kind, want := range map[string]int{"application/json; charset=utf-8": 200, "Application/JSON": 200, "application/vnd.api+json": 200, "text/json": 415, "application/jsonl": 415, ";": 415} {
		if res := s.request(h1, "POST", "/v1/queries", `"SELECT 1"`, "Content-Type", kind); res.StatusCode != want {
			t.Errorf("content type %q: %d, want %d", kind, res.StatusCode, want)
		}
	}
	if res := s.request(h1, "GET", "/v1/queries", ""); res.StatusCode != 405 || res.Header.Get("Allow") != "POST" {
		t.Errorf("wrong method: %d, allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
	if status, text := s.ask("POST", "/v1/queries", `"`+strings.Repeat("x", 17<<20)+`"`); status != 413 {
		t.Errorf("a body of 17 MiB: %d %s", status, text)
	}
}

func TestToken(t *testing.T) {
	s := newServer(t, compat.Config{Token: "secret", Endpoint: "here"})
	for _, c := range []struct {
		header []string
		status int
	}{
		{nil, 401}, {[]string{"Authorization", "Bearer wrong"}, 401}, {[]string{"Authorization", "Bearer secret"}, 200},
		{[]string{"Authorization", "Bearer secret", "X-Corrosion-Requested-Endpoint-Name", "other"}, 421},
		{[]string{"Authorization", "Bearer secret", "X-Corrosion-Requested-Endpoint-Name", "here"}, 200},
	} {
		if status, text := s.ask("POST", "/v1/queries", `"SELECT 1"`, c.header...); status != c.status {
			t.Errorf("%v: %d %s", c.header, status, text)
		}
	}
}

func TestStatsAndHealth(t *testing.T) {
	s := newServer(t, compat.Config{})
	s.write(`["INSERT INTO machines (id) VALUES ('m1'), ('m2')"]`)
	if _, text := s.ask("POST", "/v1/table_stats", `{"tables": ["machines", "nosuch"]}`); strings.TrimSpace(text) != `{"total_row_count":2,"invalid_tables":["nosuch"]}` {
		t.Errorf("stats: %s", text)
	}
	if _, text := s.ask("POST", "/v1/table_stats", `{"tables": ["Machines", "Größe Ü", "größe ü"]}`); strings.TrimSpace(text) != `{"total_row_count":2,"invalid_tables":["größe ü"]}` {
		t.Errorf("stats by other spellings: %s", text)
	}
	s.health = compat.Health{Gaps: 3, Members: 2, P99Lag: 0.5, Queue: 7}
	for query, want := range map[string]int{"": 200, "?gaps=3": 200, "?gaps=2": 503, "?p99_lag=0.4": 503, "?max_queue=6&failure_status=418": 418, "?gaps=x": 400} {
		status, text := s.ask("GET", "/v1/health"+query, "")
		if status != want || want == 200 && text != `{"response":{"gaps":3,"members":2,"p99_lag":0.5,"queue_size":7}}` {
			t.Errorf("health%s: %d %s", query, status, text)
		}
	}
	if status, text := s.ask("HEAD", "/v1/health?gaps=2", ""); status != 503 || text != "" { // as load balancers ask
		t.Errorf("the head of health: %d %s", status, text)
	}
	s.health.Failed = io.ErrUnexpectedEOF
	if status, text := s.ask("GET", "/v1/health", ""); status != 503 || !strings.HasPrefix(text, `{"error":`) {
		t.Errorf("a failed node: %d %s", status, text)
	}
}

// After a write, a read of any node can wait for it, by what the write
// answered. A write that changed nothing names what is there.
func TestReadBarrier(t *testing.T) {
	s := newServer(t, compat.Config{})
	other := record.Writer{Node: "w2", Boot: 5, Bits: 6}
	s.writers = []record.Writer{other}
	s.write(`["INSERT INTO machines (id, port) VALUES ('m1', 5)"]`)
	id := compat.Actor(s.db.Writer())
	mine := hex.EncodeToString(id[:])
	if _, err := uuid.Parse(mine); err != nil {
		t.Fatal(err)
	}
	far := compat.Actor(other)
	for query, want := range map[string]int{
		"?after=" + mine + ":1": 200,
		"?after=" + hex.EncodeToString(far[:]) + ":1&after_timeout=0.01": 504,
		"?after=" + uuid.NewString() + ":1":                              404,
		"?after=" + mine:                                                 400,
		"?after=" + mine + ":0":                                          400,
		"?after=" + mine + ":1&after_timeout=x":                          400,
	} {
		if status, text := s.ask("POST", "/v1/queries"+query, `"SELECT 1"`); status != want {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	res := s.request(h1, "POST", "/v1/transactions", `["UPDATE machines SET port = 5"]`)
	if got, want := res.Header.Get("Firebreak-Standing"), fmt.Sprintf("%s:1", mine); got != want || res.StatusCode != http.StatusOK {
		t.Errorf("a write of what is there names %q, want %q", got, want)
	}
}
