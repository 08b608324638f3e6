package compat_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/httpd"
	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/region/compat"
)

const schemaSQL = `
CREATE TABLE machines (id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL DEFAULT '', port INTEGER, metadata TEXT);
CREATE TABLE "Größe Ü" ("Id" TEXT NOT NULL PRIMARY KEY, v);
CREATE TABLE types (id TEXT NOT NULL PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB);
`

// server is a store, its watches and a real listener.
type server struct {
	t    testing.TB
	dir  string
	addr string
	cfg  compat.Config
	db   *sqlite.DB
	live *live.Engine
	stop func()
	// the node that the handler sees
	health  compat.Health
	web     httpd.Config // its limits
	writers []record.Writer
}

func newServer(t testing.TB, cfg compat.Config) *server {
	s := &server{t: t, dir: t.TempDir(), cfg: cfg, addr: "127.0.0.1:0"}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *server) start() {
	s.t.Helper()
	tables, err := sqlite.ParseSQL(schemaSQL)
	if err == nil {
		s.db, err = sqlite.Open(s.t.Context(), sqlite.Config{
			Path: filepath.Join(s.dir, "node.db"), Fleet: "f", Cluster: "region/r", Node: "w1", Tables: tables, Durability: sqlite.OS,
		})
	}
	if err != nil {
		s.t.Fatal(err)
	}
	engine, err := live.New(live.Config{DB: s.db, Path: filepath.Join(s.dir, "watches")})
	if err != nil {
		s.t.Fatal(err)
	}
	s.live = engine
	cfg := s.cfg
	cfg.DB, cfg.Live, cfg.Node = s.db, engine, s
	web := s.web
	web.Name, web.Listen, web.Handler = "HTTP", s.addr, compat.New(cfg)
	lis, err := httpd.New(web)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = lis.Addr()
	until, stopWeb := context.WithCancel(context.Background())
	below, stopBelow := context.WithCancel(context.Background())
	webDone, belowDone := make(chan error, 1), make(chan error, 1)
	go func() { webDone <- lis.Run(until) }()
	go func() { belowDone <- engine.Run(below) }()
	s.stop = func() {
		stopWeb()
		err := <-webDone
		stopBelow()
		if err := errors.Join(err, <-belowDone, s.db.Close()); err != nil {
			s.t.Error(err)
		}
		s.stop = func() {}
	}
}

// Writers implements compat.Node.
func (s *server) Writers() []record.Writer { return append(s.writers, s.db.Writer()) }

// WaitPoint implements compat.Node.
func (s *server) WaitPoint(ctx context.Context, p record.Point) error {
	if p.Writer == s.db.Writer() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// Health implements compat.Node.
func (s *server) Health(context.Context) (compat.Health, error) { return s.health, nil }

var (
	h1 = &http.Client{Transport: &http.Transport{Protocols: protocols(false)}}
	h2 = &http.Client{Transport: &http.Transport{Protocols: protocols(true)}}
)

func protocols(http2 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return p
}

// request sends a body, or none.
func (s *server) request(c *http.Client, method, path, body string, header ...string) *http.Response {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.addr+path, bytes.NewBufferString(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	return res
}

var (
	times  = regexp.MustCompile(`"time":[0-9.e+-]+`)
	actors = regexp.MustCompile(`"actor_id":"[0-9a-f]{32}"`)
)

// ask returns status and body, with times and actors blotted out.
func (s *server) ask(method, path, body string, header ...string) (int, string) {
	s.t.Helper()
	res := s.request(h2, method, path, body, header...)
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, blot(string(text))
}

func blot(s string) string {
	return actors.ReplaceAllString(times.ReplaceAllString(s, `"time":T`), `"actor_id":A`)
}

// write runs a transaction that must be kept.
func (s *server) write(body string) {
	s.t.Helper()
	if status, text := s.ask("POST", "/v1/transactions", body); status != http.StatusOK {
		s.t.Fatalf("%s: %d %s", body, status, text)
	}
}

// lines reads a stream line by line.
type lines struct {
	t   testing.TB
	res *http.Response
	r   *bufio.Reader
}

func (s *server) stream(c *http.Client, method, path, body string) *lines {
	s.t.Helper()
	res := s.request(c, method, path, body)
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		s.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
	}
	return &lines{s.t, res, bufio.NewReader(res.Body)}
}

// next returns the next line; it ends in a newline.
func (l *lines) next() string {
	l.t.Helper()
	line, err := l.r.ReadString('\n')
	if err != nil {
		l.t.Fatalf("after %q: %v", line, err)
	}
	return blot(strings.TrimSuffix(line, "\n"))
}

func (l *lines) expect(want ...string) {
	l.t.Helper()
	for _, w := range want {
		if got := l.next(); got != w {
			l.t.Fatalf("line %s\nwant %s", got, w)
		}
	}
}
