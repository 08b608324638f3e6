package compat_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/region/compat"
)

const subscribed = `["SELECT id, port FROM machines WHERE app = ?", ["web"]]`

func TestSubscription(t *testing.T) {
	for name, client := range map[string]*http.Client{"HTTP/1.1": h1, "HTTP/2": h2} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, compat.Config{})
			s.write(`["INSERT INTO machines (id, app, port) VALUES ('m1', 'web', 82), ('m2', 'web', 81)"]`)
			l := s.stream(client, "POST", "/v1/subscriptions", subscribed)
			id, hash := l.res.Header.Get("Corro-Query-Id"), l.res.Header.Get("Corro-Query-Hash")
			if _, err := uuid.Parse(id); err != nil || len(hash) != 16 || l.res.Header.Get("Content-Type") != "" {
				t.Errorf("headers: %v", l.res.Header)
			}
			l.expect(`{"columns":["id","port"]}`, `{"row":[1,["m1",82]]}`, `{"row":[2,["m2",81]]}`, `{"eoq":{"time":T,"change_id":0}}`)
			s.write(`["INSERT INTO machines (id, app, port) VALUES ('m3', 'web', 1)"]`)
			l.expect(`{"change":["insert",3,["m3",1],1]}`)
			s.write(`["UPDATE machines SET port = 2 WHERE id = 'm3'"]`)
			l.expect(`{"change":["update",3,["m3",2],2]}`)
			s.write(`["DELETE FROM machines WHERE id = 'm3'"]`)
			l.expect(`{"change":["delete",3,["m3",2],3]}`)

			second := s.stream(client, "GET", "/v1/subscriptions/"+id, "")
			second.expect(`{"columns":["id","port"]}`, `{"row":[1,["m1",82]]}`, `{"row":[2,["m2",81]]}`, `{"eoq":{"time":T,"change_id":3}}`)
			after := s.stream(client, "GET", "/v1/subscriptions/"+id+"?from=1", "")
			after.expect(`{"change":["update",3,["m3",2],2]}`, `{"change":["delete",3,["m3",2],3]}`)
			posted := s.stream(client, "POST", "/v1/subscriptions?from=2&skip_rows=false", subscribed)
			posted.expect(`{"change":["delete",3,["m3",2],3]}`)
			skipped := s.stream(client, "GET", "/v1/subscriptions/"+id+"?skip_rows=true", "")
			s.write(`["UPDATE machines SET port = 5 WHERE id = 'm1'"]`)
			for _, reader := range []*lines{l, second, after, posted, skipped} {
				reader.expect(`{"change":["update",1,["m1",5],4]}`)
			}
			if again := s.stream(client, "GET", "/v1/subscriptions/"+id+"?from=0", ""); again.next() != `{"columns":["id","port"]}` {
				t.Error("from=0 is the whole snapshot")
			}
		})
	}
}

func TestSubscriptionsThatAreNot(t *testing.T) {
	s := newServer(t, compat.Config{})
	l := s.stream(h2, "POST", "/v1/subscriptions", subscribed)
	id := l.res.Header.Get("Corro-Query-Id")
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v1/subscriptions/" + id + "?from=1000", "", 404, "no such change"},
		{"GET", "/v1/subscriptions/" + id + "?from=x", "", 400, "no change id"},
		{"GET", "/v1/subscriptions/" + uuid.NewString(), "", 404, "could not find subscription with id"},
		{"POST", "/v1/subscriptions?from=1", `"SELECT id FROM machines WHERE port = 12345"`, 400, "no existing subscription found"},
		{"POST", "/v1/subscriptions", `"DELETE FROM machines"`, 400, "only a SELECT"},
		{"POST", "/v1/subscriptions", `"SELECT * FROM nosuch"`, 400, "no such table: nosuch"},
		{"POST", "/v1/subscriptions", `"SELECT 1"`, 400, "at least 1 table is required in FROM / JOIN clause"},
		{"POST", "/v1/subscriptions", `"SELECT id, random() FROM machines"`, 400, "changes without any write"},
	} {
		status, text := s.ask(c.method, c.path, c.body)
		if status != c.status || !strings.Contains(text, c.want) || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, status, text)
		}
	}
	plain := s.stream(h2, "POST", "/v1/subscriptions", subscribed)
	plain.expect(`{"columns":["id","port"]}`, `{"eoq":{"time":T,"change_id":0}}`)
	if plain.res.Header.Get("Corro-Query-Id") != id {
		t.Error("a refused resume spoiled the subscription")
	}
}

// A stop of the node aborts streams, so that clients come again; they go on
// where they were.
func TestSubscriptionGoesOnAfterRestart(t *testing.T) {
	s := newServer(t, compat.Config{})
	s.write(`["INSERT INTO machines (id, app, port) VALUES ('m1', 'web', 1)"]`)
	for _, client := range []*http.Client{h1, h2} {
		l := s.stream(client, "POST", "/v1/subscriptions", subscribed)
		id := l.res.Header.Get("Corro-Query-Id")
		for line := ""; !strings.HasPrefix(line, `{"eoq"`); {
			line = l.next()
		}
		s.write(`["UPDATE machines SET port = port + 1"]`)
		var change string
		for !strings.HasPrefix(change, `{"change":["update"`) {
			change = l.next()
		}
		var last int
		if _, err := fmt.Sscanf(change[strings.LastIndex(change, ",")+1:], "%d", &last); err != nil {
			t.Fatal(err)
		}
		s.stop()
		if _, err := io.ReadAll(l.r); err == nil {
			t.Fatal("the stream ended in order: its client would not come again")
		}
		s.start()
		s.write(`["UPDATE machines SET port = port + 1"]`)
		again := s.stream(client, "GET", fmt.Sprintf("/v1/subscriptions/%s?from=%d", id, last), "")
		if got := again.next(); !strings.HasSuffix(got, fmt.Sprintf(",%d]}", last+1)) {
			t.Errorf("after %d comes %s", last, got)
		}
	}
}

func TestUpdates(t *testing.T) {
	s := newServer(t, compat.Config{})
	l := s.stream(h2, "POST", "/v1/updates/machines", "")
	if _, err := uuid.Parse(l.res.Header.Get("Corro-Query-Id")); err != nil {
		t.Error(err)
	}
	s.write(`["INSERT INTO machines (id) VALUES ('u1')"]`)
	l.expect(`{"notify":["update",["u1"]]}`)
	s.write(`["UPDATE machines SET port = 1"]`)
	l.expect(`{"notify":["update",["u1"]]}`)
	s.write(`["DELETE FROM machines"]`)
	l.expect(`{"notify":["delete",["u1"]]}`)
}

// A table has the name that its file gives it, in any case of ASCII letters.
func TestUpdatesOfATableBySpellings(t *testing.T) {
	s := newServer(t, compat.Config{})
	for i, name := range []string{"Machines", "Gr%C3%B6%C3%9Fe%20%C3%9C", "GR%C3%B6%C3%9FE%20%C3%9C"} {
		l := s.stream(h1, "POST", "/v1/updates/"+name, "")
		table := "Größe Ü"
		if i == 0 {
			table = "machines"
		}
		s.write(fmt.Sprintf(`["INSERT INTO \"%s\" (id) VALUES ('%d')"]`, table, i))
		l.expect(fmt.Sprintf(`{"notify":["update",["%d"]]}`, i))
	}
}

// Clients that cut and come again while changes pour in see every change once.
func TestResumesUnderLoad(t *testing.T) {
	s := newServer(t, compat.Config{})
	first := s.stream(h2, "POST", "/v1/subscriptions", `"SELECT id, port FROM machines"`)
	id := first.res.Header.Get("Corro-Query-Id")
	first.expect(`{"columns":["id","port"]}`, `{"eoq":{"time":T,"change_id":0}}`)
	const steps = 300
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			last := 0
			for last < steps {
				l := s.stream(h2, "GET", fmt.Sprintf("/v1/subscriptions/%s?from=%d", id, last), "")
				if last == 0 {
					l.res.Body.Close() // the first change is read off a snapshot that is of no use here
					l = s.stream(h2, "GET", "/v1/subscriptions/"+id+"?skip_rows=true", "")
					line := l.next()
					if _, err := fmt.Sscanf(line[strings.LastIndex(line, ",")+1:], "%d", &last); err != nil {
						t.Error(err)
						return
					}
				}
				for range 20 {
					if last == steps {
						break
					}
					line := l.next()
					if want := fmt.Sprintf(",%d]}", last+1); !strings.HasSuffix(line, want) {
						t.Errorf("after %d comes %s", last, line)
						return
					}
					last++
				}
				l.res.Body.Close()
			}
		})
	}
	for i := range steps {
		s.write(fmt.Sprintf(`["INSERT OR REPLACE INTO machines (id, port) VALUES ('m%d', %d)"]`, i%50, i))
		first.next()
	}
	s.write(`["DELETE FROM machines WHERE id = 'm0'"]`)
	all.Wait()
}

// A client that reads nothing is cut off; it holds up nobody.
func TestClientThatNeverReads(t *testing.T) {
	cut := cutOffs{make(chan string, 1)}
	s := newServer(t, compat.Config{Stall: time.Second, Logger: slog.New(slog.NewTextHandler(cut, nil))})
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `"SELECT id, metadata FROM machines"`
	fmt.Fprintf(conn, "POST /v1/subscriptions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	other := s.stream(h2, "POST", "/v1/subscriptions", `"SELECT id, port FROM machines"`)
	other.expect(`{"columns":["id","port"]}`, `{"eoq":{"time":T,"change_id":0}}`)
	const transactions, rows, size = 40, 10, 50_000 // more than the sockets hold
	big := strings.Repeat("x", size)
	for i := range transactions {
		statements := make([]string, rows)
		for j := range statements {
			statements[j] = fmt.Sprintf(`["INSERT INTO machines (id, metadata) VALUES (?, ?)", ["m%d-%d", "%s"]]`, i, j, big)
		}
		s.write("[" + strings.Join(statements, ",") + "]")
		for range statements {
			other.next()
		}
	}
	select {
	case <-cut.seen:
	case <-time.After(30 * time.Second):
		t.Fatal("it was never cut off")
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := io.Copy(io.Discard, conn)
	if n >= transactions*rows*size || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes came to one that did not read, %v", n, err)
	}
}

// A stream on which nothing happens is not one that is not read.
func TestQuietStreamsStay(t *testing.T) {
	s := newServer(t, compat.Config{Stall: 50 * time.Millisecond})
	one, two := s.stream(h1, "POST", "/v1/subscriptions", subscribed), s.stream(h2, "POST", "/v1/subscriptions", subscribed)
	for _, l := range []*lines{one, two} {
		l.expect(`{"columns":["id","port"]}`, `{"eoq":{"time":T,"change_id":0}}`)
	}
	<-time.After(300 * time.Millisecond) // that time passes is what is tested
	s.write(`["INSERT INTO machines (id, app, port) VALUES ('m1', 'web', 1)"]`)
	for _, l := range []*lines{one, two} {
		l.expect(`{"change":["insert",1,["m1",1],1]}`)
	}
}

func TestHTTP1ThatAsksForAnUpgrade(t *testing.T) {
	s := newServer(t, compat.Config{})
	res := s.request(h1, "POST", "/v1/transactions", `["INSERT INTO machines (id) VALUES ('m1')"]`,
		"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
	if res.StatusCode != http.StatusOK || res.ProtoMajor != 1 {
		t.Errorf("%s %d", res.Proto, res.StatusCode)
	}
}

// A row that a query fails on is told to its readers, and the stream is cut.
func TestSubscriptionOverABadRow(t *testing.T) {
	s := newServer(t, compat.Config{})
	const parsed = `"SELECT id, json_extract(metadata, '$.a') FROM machines"`
	l, other := s.stream(h2, "POST", "/v1/subscriptions", parsed), s.stream(h2, "POST", "/v1/subscriptions", subscribed)
	l.expect(`{"columns":["id","json_extract(metadata, '$.a')"]}`, `{"eoq":{"time":T,"change_id":0}}`)
	other.expect(`{"columns":["id","port"]}`, `{"eoq":{"time":T,"change_id":0}}`)
	s.write(`["INSERT INTO machines (id, app, metadata) VALUES ('m1', 'web', '{')"]`)
	if got := l.next(); !strings.HasPrefix(got, `{"error":"`) || !strings.Contains(got, "malformed JSON") {
		t.Errorf("told %s", got)
	}
	if _, err := io.ReadAll(l.r); err == nil {
		t.Error("the stream ended in order")
	}
	other.expect(`{"change":["insert",1,["m1",null],1]}`)
}
