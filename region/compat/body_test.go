package compat_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/region/compat"
)

// patient is a recorder that takes deadlines, as connections do.
type patient struct{ *httptest.ResponseRecorder }

func (patient) SetReadDeadline(time.Time) error { return nil }

func (patient) SetWriteDeadline(time.Time) error { return nil }

// FuzzBodies posts anything to everything: the answer is a status that clients
// know, of the shape that they know, and what comes next still works.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		`["SELECT 1"]`, `[["INSERT INTO machines (id) VALUES (?)", ["a"]]]`, `{"query": "SELECT :a", "named_params": {":a": [1]}}`,
		`[["UPDATE machines SET port = ?2 WHERE id = @x", {"@x": null}]]`, `[]`, `nonsense`, `{"tables": ["machines"]}`, `["COMMIT"]`, `[["SELECT $a", {"$a": {}}]]`, `[[[]]]`,
		`["SELECT id FROM machines WHERE port = ?5 AND app = :x", [1, 2, 3, 4, 5, 6]]`,
	} {
		f.Add(s)
	}
	s := newServer(f, compat.Config{})
	h := compat.New(compat.Config{DB: s.db, Live: s.live, Node: s})
	post := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(patient{w}, r)
		return w
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/v1/transactions", "/v1/queries?timeout=0.2", "/v1/table_stats"} {
			w := post(path, body)
			switch w.Code {
			case 200, 400, 422, 500:
			default:
				t.Errorf("%s %s: %d %s", path, body, w.Code, w.Body)
			}
			if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s: no JSON: %s", path, body, w.Body)
			}
		}
		if w := post("/v1/transactions", `["INSERT OR REPLACE INTO types (id) VALUES ('next')"]`); w.Code != 200 {
			t.Errorf("after %s no write works: %s", body, w.Body)
		}
	})
}

// Clients that go at any byte, of a request or of an answer, leave nothing.
func TestDisconnectsAtEveryByte(t *testing.T) {
	s := newServer(t, compat.Config{})
	s.write(`["INSERT INTO machines (id, app, port) VALUES ('m1', 'web', 1)"]`)
	s.stream(h1, "POST", "/v1/subscriptions", subscribed).next()
	before := runtime.NumGoroutine()
	request := "POST /v1/subscriptions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(subscribed), subscribed)
	chunked := "POST /v1/queries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"5\r\n\"SELE\r\n5\r\nCT 1\"\r\n0\r\n\r\n"
	cut := func(text string, answer int64) {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, text)
		if answer > 0 {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.CopyN(io.Discard, c, answer)
		}
	}
	for _, text := range []string{request, chunked} {
		for i := range len(text) {
			cut(text[:i], 0)
		}
	}
	for i := range int64(250) {
		cut(request, i)
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before+4; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left, there were %d", runtime.NumGoroutine(), before)
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.write(`["UPDATE machines SET port = 2"]`)
}
