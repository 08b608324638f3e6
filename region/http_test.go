package region_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// checked sends a request and checks question and answer against the document
// that the node itself serves.
type checked struct {
	t    *testing.T
	base string
	doc  *openapi3.T
}

func (n *node) openAPI() *checked {
	n.t.Helper()
	res, err := http.Get("http://" + n.addr.HTTP + "/api/v1/openapi.json")
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err == nil {
		err = doc.Validate(context.Background())
	}
	if err != nil {
		n.t.Fatalf("the OpenAPI document is none: %v", err)
	}
	if want, err := os.ReadFile("../docs/reference/openapi.json"); err != nil || !bytes.Equal(raw, want) {
		if os.Getenv("REWRITE") == "" {
			n.t.Error("docs/reference/openapi.json is not what the server says: run REWRITE=1 go test ./region -run JSON")
		} else if err := os.WriteFile("../docs/reference/openapi.json", raw, 0o644); err != nil {
			n.t.Fatal(err)
		}
	}
	return &checked{n.t, "http://" + n.addr.HTTP, doc}
}

// call returns the answer, and its status.
func (c *checked) call(method, path, body string) (int, map[string]any) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	router, err := gorillamux.NewRouter(c.doc)
	if err != nil {
		c.t.Fatal(err)
	}
	route, params, err := router.FindRoute(req)
	if err != nil {
		c.t.Fatalf("%s %s is not in the document: %v", method, path, err)
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.StatusCode, Header: res.Header}
	out.SetBodyBytes(raw)
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := openapi3filter.ValidateResponse(c.t.Context(), out); err != nil {
			c.t.Errorf("%s %s: the answer is not what the document says: %v\n%s", method, path, err, raw)
		}
	}
	var got map[string]any
	line, _, _ := strings.Cut(string(raw), "\n")
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		c.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, raw)
	}
	got["raw"] = string(raw)
	return res.StatusCode, got
}

func (c *checked) ok(method, path, body string) map[string]any {
	c.t.Helper()
	status, got := c.call(method, path, body)
	if status != http.StatusOK {
		c.t.Fatalf("%s %s: %d %v", method, path, status, got["raw"])
	}
	return got
}

const web1 = `{"machines": [{"id": "m1", "app": "web", "state": "MACHINE_STATE_STARTED", "addresses": ["10.0.0.1"]}]}`

func TestJSONAPI(t *testing.T) {
	c := newCluster(t, "w1", "w2")
	a, b := c.nodes["w1"].openAPI(), c.nodes["w2"].openAPI()
	point := a.ok("POST", "/api/v1/publish", web1)["written"].(map[string]any)["points"].([]any)
	raw, _ := json.Marshal(map[string]any{"points": point, "timeout_ms": "10000"})
	if got := b.ok("POST", "/api/v1/wait", string(raw)); got["reached"] != true {
		t.Errorf("wait: %v", got["raw"])
	}
	for _, path := range []string{"/api/v1/machines?app=web", "/api/v1/machines?worker=w1&ended=true", "/api/v1/where/web"} {
		if got := b.ok("GET", path, ""); len(got["machines"].([]any)) != 1 {
			t.Errorf("%s: %v", path, got["raw"])
		}
	}
	if got := b.ok("GET", "/api/v1/machines/m1", ""); len(got["claims"].([]any)) != 1 {
		t.Errorf("claims: %v", got["raw"])
	}
	if got := a.ok("GET", "/api/v1/status", ""); got["node"] != "w1" || got["region"] != "iad" {
		t.Errorf("status: %v", got["raw"])
	}
	a.ok("POST", "/api/v1/health", `{"health": [{"id": "m1", "status": "HEALTH_STATUS_PASSING"}]}`)
	a.ok("POST", "/api/v1/worker", `{"addresses": ["10.0.0.9"]}`)
	if got := b.ok("POST", "/api/v1/query", `{"sql": "SELECT id, epoch FROM fleet_machines WHERE app = ?", "args": ["web"]}`)["raw"]; !strings.Contains(got.(string), `{"row":["m1",1]}`) {
		t.Errorf("query: %v", got)
	}
	a.ok("POST", "/api/v1/exec", `{"statements": [{"sql": "CREATE TABLE note (k TEXT PRIMARY KEY, n INTEGER)"}], "local_tables": true}`)
	if got := a.ok("POST", "/api/v1/exec", `{"statements": [{"sql": "INSERT INTO note VALUES (?, ?) RETURNING n", "args": ["x", 9007199254740993]}]}`)["raw"]; !strings.Contains(got.(string), `"rows":[[9007199254740993]]`) {
		t.Errorf("exec: %v", got)
	}
	a.ok("POST", "/api/v1/reconcile?allow_shrink=true", `{"machines": []}`)
	if got := a.ok("POST", "/api/v1/withdraw", `{"ids": ["nosuch"]}`); len(got["unknown"].([]any)) != 1 {
		t.Errorf("withdraw: %v", got["raw"])
	}
}

func TestJSONAPIRefuses(t *testing.T) {
	c := newCluster(t, "w1")
	a := c.nodes["w1"].openAPI()
	for _, r := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/api/v1/publish", `{"machines": [{"id": ""}]}`, 400},
		{"POST", "/api/v1/publish", `{"machines": 5}`, 400},
		{"POST", "/api/v1/publish", `nonsense`, 400},
		{"POST", "/api/v1/publish", `{"nosuch": 1}`, 400},
		{"POST", "/api/v1/query", `{"sql": "DELETE FROM fleet_machines"}`, 400},
		{"POST", "/api/v1/query", `{"sql": 1}`, 400},
		{"POST", "/api/v1/exec", `{"statements": [{"sql": "UPDATE fleet_machines SET app = 'x'"}]}`, 400},
		{"POST", "/api/v1/exec", `{"statements": [{"sql": "COMMIT"}]}`, 400},
		{"POST", "/api/v1/exec", `{"statements": []}`, 400},
		{"POST", "/api/v1/exec", `{"sql": "SELECT 1"}`, 400},
		{"POST", "/api/v1/exec", `[]`, 400},
		{"POST", "/api/v1/query", `{"sql": "SELECT ?", "args": ["\ud800"]}`, 400},
		{"GET", "/api/v1/machines?ended=perhaps", "", 400},
		{"GET", "/api/v1/watch", "", 400},
		{"GET", "/api/v1/watch?sql=SELECT+random()+FROM+fleet_machines", "", 400},
		{"GET", "/api/v1/watch?sql=SELECT+1&from=x", "", 400},
		{"GET", "/api/v1/watch?sql=x&from=00000000-0000-4000-8000-000000000000:3", "", 404},
		{"GET", "/api/v1/watch?sql=x&from=:3", "", 400},
		{"GET", "/api/v1/watch?sql=x&from=y:3", "", 400},
		{"GET", "/api/v1/watch?sql=x&args={}", "", 400},
		{"GET", "/api/v1/watch?sql=SELECT+id+FROM+fleet_machines+WHERE+app+%3D+%3F", "", 400},
		{"GET", "/api/v1/watch?sql=x&table=y", "", 400},
		{"GET", "/api/v1/watch?table=nosuch", "", 400},
		{"GET", "/api/v1/watch?app=no/app", "", 400},
		{"GET", "/api/v1/watch?app=web&from=*", "", 400},
		{"POST", "/api/v1/query", `{"sql": "SELECT 1", "arg": [1]}`, 400},
		{"POST", "/api/v1/query", `{"sql": "SELECT 1"} {"sql": "SELECT 2"}`, 400},
		{"POST", "/api/v1/query", `{"sql": "SELECT ?", "args": {"a": 1}}`, 400},
		{"POST", "/api/v1/query", `{}`, 400},
		{"POST", "/api/v1/query", `null`, 400},
		{"POST", "/api/v1/exec", `{"statements": [{"sql": "DELETE FROM nosuch"}], "local": true}`, 400},
		{"GET", "/api/v1/machines?app=no/app", "", 400},
		{"GET", "/api/v1/where/no%2Fapp", "", 400},
		{"POST", "/api/v1/wait", `{"points": [{"writer": {"node": "w1"}}]}`, 400},
	} {
		status, got := a.call(r.method, r.path, r.body)
		if status != r.status || got["error"] == nil {
			t.Errorf("%s %s %s: %d %v, want %d", r.method, r.path, r.body, status, got["raw"], r.status)
		}
	}
	res, err := http.Post(a.base+"/api/v1/publish", "text/plain", strings.NewReader(web1))
	if err != nil || res.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form of some page: %v %v", res.Status, err)
	}
}

// events reads server-sent events.
type events struct {
	t *testing.T
	r *bufio.Reader
}

func (n *node) events(ctx context.Context, path, last string) *events {
	n.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.addr.HTTP+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		n.t.Fatalf("%s: %v %v", path, res, err)
	}
	n.t.Cleanup(func() { res.Body.Close() })
	return &events{n.t, bufio.NewReader(res.Body)}
}

// until returns the id and data of the next event of a name.
func (e *events) until(name string) (id, data string) {
	e.t.Helper()
	event := ""
	for {
		line, err := e.r.ReadString('\n')
		if err != nil {
			e.t.Fatalf("waiting for %s: %v", name, err)
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "event: "):
			event = line[7:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		case line == "":
			if event == name {
				return id, data
			}
			id, data, event = "", "", ""
		}
	}
}

// A browser comes back by itself with the last id that it saw. If the watch is
// gone, or is of another query, it is told to begin anew; any status but 200
// would be the end for it.
func TestBrowsersThatComeBackLate(t *testing.T) {
	c := newCluster(t, "w1")
	a := c.nodes["w1"]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	api := a.openAPI()
	api.ok("POST", "/api/v1/publish", web1)
	const sql = "/api/v1/watch?sql=SELECT+id+FROM+fleet_machines"
	late := a.events(ctx, sql, "00000000-0000-4000-8000-000000000000:7")
	if _, data := late.until("resync"); !strings.Contains(data, "no such watch") {
		t.Errorf("resync: %s", data)
	}
	if _, data := late.until("row"); data != `{"row":[1,["m1"]]}` {
		t.Errorf("row: %s", data)
	}
	id, _ := late.until("synced")
	uuid, _, _ := strings.Cut(id, ":")
	if _, data := a.events(ctx, sql, uuid+":99").until("resync"); !strings.Contains(data, "99") {
		t.Errorf("of a change that never was: %s", data)
	}
	api.ok("POST", "/api/v1/publish", strings.ReplaceAll(web1, "m1", "m2"))
	id, _ = late.until("insert")
	if status, got := api.call("GET", "/api/v1/watch?sql=SELECT+app+FROM+fleet_machines&from="+id, ""); status != http.StatusBadRequest {
		t.Errorf("from the watch of another query: %d %v", status, got["raw"])
	}
	a.stop()
	a = c.start("w1")
	again := a.events(ctx, sql, strings.Replace(id, ":1", ":0", 1))
	again.until("synced") // of no change: from the beginning, with its rows
	again = a.events(ctx, sql, id)
	a.openAPI().ok("POST", "/api/v1/publish", strings.ReplaceAll(web1, "m1", "m3"))
	if next, data := again.until("insert"); next != uuid+":2" || data != `{"insert":[3,["m3"]]}` {
		t.Errorf("after a restart: %s %s", next, data)
	}
}

func TestJSONWatchesGoOn(t *testing.T) {
	c := newCluster(t, "w1", "w2")
	a, b := c.nodes["w1"], c.nodes["w2"]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const sql = "/api/v1/watch?sql=SELECT+id,+app+FROM+fleet_machines+WHERE+app+%3D+%3F&args=%5B%22web%22%5D"
	api := a.openAPI()
	first, apps, rows := b.events(ctx, sql, ""), b.events(ctx, "/api/v1/watch?app=web", ""), b.events(ctx, "/api/v1/watch?table=fleet_machines", "")
	first.until("synced")
	apps.until("synced")
	rows.until("synced")
	api.ok("POST", "/api/v1/publish", web1)
	id, data := first.until("insert")
	if data != `{"insert":[1,["m1","web"]]}` {
		t.Errorf("insert: %s", data)
	}
	at, data := apps.until("machine")
	if !strings.Contains(data, `"id":"m1"`) && !strings.Contains(data, `"id": "m1"`) {
		t.Errorf("machine: %s", data)
	}
	if _, data := rows.until("row"); !strings.Contains(data, `"app":"web"`) {
		t.Errorf("row: %s", data)
	}
	for i := range 3 {
		api.ok("POST", "/api/v1/publish", fmt.Sprintf(`{"machines": [{"id": "x%d", "app": "web", "state": "MACHINE_STATE_STARTED"}]}`, i))
		first.until("insert")
	}
	again := b.events(ctx, sql, id)
	if _, data := again.until("insert"); data != `{"insert":[2,["x0","web"]]}` {
		t.Errorf("after the last event: %s", data)
	}
	if at != "" {
		if _, data := b.events(ctx, "/api/v1/watch?app=web", at).until("machine"); !strings.Contains(data, `x`) {
			t.Errorf("after the last event of an app: %s", data)
		}
	}
}
