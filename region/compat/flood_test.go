package compat_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/firebreak-dev/firebreak/internal/httpd"
	"github.com/firebreak-dev/firebreak/region/compat"
)

// raw is a connection whose client keeps to nothing.
type raw struct {
	net.Conn
	frames *http2.Framer
	block  bytes.Buffer
	enc    *hpack.Encoder
}

func (s *server) raw() *raw {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(30 * time.Second))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return &raw{Conn: c, frames: http2.NewFramer(c, c)}
}

// rawH2 begins HTTP/2 and reads all that comes, until the server hangs up.
func (s *server) rawH2() (c *raw, hungUp chan error) {
	s.t.Helper()
	c = s.raw()
	c.enc = hpack.NewEncoder(&c.block)
	_, err := io.WriteString(c, http2.ClientPreface)
	if err == nil {
		err = c.frames.WriteSettings()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	hungUp = make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c)
		hungUp <- err
	}()
	return c, hungUp
}

// headers encodes a request's.
func (c *raw) headers(method, path string) []byte {
	c.block.Reset()
	for _, f := range [][2]string{{":method", method}, {":path", path}, {":scheme", "http"}, {":authority", "node"}, {"content-type", "application/json"}} {
		_ = c.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // a buffer takes all
	}
	return c.block.Bytes()
}

// stays does something bad to the node, and demands that its memory stays
// bounded and that it writes and tells of it afterwards.
func (s *server) stays(name string, bad func()) {
	s.t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(256<<20)
	stop, stopped := make(chan struct{}), make(chan uint64)
	go func() {
		top := uint64(0)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			top = max(top, m.HeapAlloc)
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				stopped <- top
				return
			}
		}
	}()
	bad()
	close(stop)
	if top := <-stopped; top > before+most {
		s.t.Errorf("%s: the heap grew from %d to %d MB", name, before>>20, top>>20)
	}
	sub := s.stream(h2, "POST", "/v1/subscriptions", `["SELECT metadata FROM machines WHERE id = ?", ["after"]]`)
	defer sub.res.Body.Close()
	s.write(fmt.Sprintf(`[["INSERT INTO machines (id, metadata) VALUES ('after', ?) ON CONFLICT DO UPDATE SET metadata = excluded.metadata", ["%s %d"]]]`, name, time.Now().UnixNano()))
	for line := ""; !strings.Contains(line, `"`+name); {
		line = sub.next()
	}
}

// gone waits until the server has hung up.
func (s *server) gone(name string, hungUp chan error) {
	s.t.Helper()
	if err := <-hungUp; errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("%s: the server kept the connection", name)
	}
}

// Streams that are opened and reset as fast as a client can.
func TestResetFlood(t *testing.T) {
	s := newServer(t, compat.Config{})
	body := []byte(`["SELECT id FROM machines"]`)
	s.stays("reset flood", func() {
		for range 3 {
			c, hungUp := s.rawH2()
			var err error
			for id := uint32(1); id < 40_000 && err == nil; id += 2 {
				err = c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers("POST", "/v1/subscriptions"), EndHeaders: true})
				if err == nil && id%3 == 0 {
					err = c.frames.WriteData(id, true, body)
				}
				if err == nil {
					err = c.frames.WriteRSTStream(id, http2.ErrCodeCancel)
				}
			}
			c.Close()
			<-hungUp
		}
	})
}

// Headers that never end, and pings and settings without end whose answers
// nobody reads. Answers to pings queue up, so at last the server stops reading or
// hangs up; of settings it answers the last, and keeps nothing of the others.
func TestFrameFloods(t *testing.T) {
	s := newServer(t, compat.Config{})
	s.stays("CONTINUATION flood", func() {
		c, hungUp := s.rawH2()
		err := c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.headers("POST", "/v1/queries")})
		sent := 0
		for more := bytes.Repeat([]byte{0x00, 0x01, 'a', 0x01, 'b'}, 2000); err == nil; sent += len(more) {
			err = c.frames.WriteContinuation(1, false, more)
		}
		s.gone("CONTINUATION flood", hungUp)
		if sent > 64<<20 {
			t.Errorf("%d MB of headers were read", sent>>20)
		}
	})
	flood := func(frames int, write func(*raw) error) error {
		c := s.raw()
		defer c.Close()
		_, err := io.WriteString(c, http2.ClientPreface)
		if err == nil {
			err = c.frames.WriteSettings()
		}
		for n := 0; n < frames && err == nil; n++ {
			_ = c.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			err = write(c)
		}
		return err
	}
	s.stays("ping flood", func() {
		if flood(2_000_000, func(c *raw) error { return c.frames.WritePing(false, [8]byte{1}) }) == nil {
			t.Error("the server took all pings")
		}
	})
	s.stays("settings flood", func() {
		_ = flood(300_000, func(c *raw) error {
			return c.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		})
	})
}

// A transaction that breaks off after any byte, by HTTP/1.1 and HTTP/2. What was
// whole is done once; what was not is not done at all.
func TestTransactionsThatBreakOff(t *testing.T) {
	s := newServer(t, compat.Config{})
	write := func(id string) string {
		return fmt.Sprintf(`[["INSERT INTO types (id, i) VALUES ('%s', 1) ON CONFLICT DO UPDATE SET i = i + 1"]]`, id)
	}
	one := func(id string) []byte {
		body := write(id)
		return fmt.Appendf(nil, "POST /v1/transactions HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	two := func(id string) []byte {
		var b bytes.Buffer
		b.WriteString(http2.ClientPreface)
		c := &raw{frames: http2.NewFramer(&b, nil)}
		c.enc = hpack.NewEncoder(&c.block)
		_ = c.frames.WriteSettings()
		_ = c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.headers("POST", "/v1/transactions"), EndHeaders: true})
		_ = c.frames.WriteData(1, true, []byte(write(id)))
		return b.Bytes()
	}
	for name, request := range map[string]func(string) []byte{"1.1": one, "2": two} {
		s.stays("disconnects of HTTP/"+name, func() {
			whole := len(request("000"))
			for i := range whole + 1 {
				c := s.raw()
				_, _ = c.Write(request(fmt.Sprintf("%03d", i))[:i])
				c.Close()
			}
		})
	}
	// Of each kind only the last, which was whole, may have been done: it may
	// also have been cut off before it was read.
	_, text := s.ask("POST", "/v1/queries", `"SELECT count(*), coalesce(max(i), 0) FROM types"`)
	if !strings.Contains(text, "[1,[0,0]]") && !strings.Contains(text, "[1,[1,1]]") && !strings.Contains(text, "[1,[2,1]]") {
		t.Errorf("rows, and how often one was written: %s", text)
	}
}

// Headers that come a byte at a time, or stop, cost a connection for seconds.
func TestSlowHeaders(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the server's own limit of 5 seconds")
	}
	t.Parallel()
	s := newServer(t, compat.Config{})
	s.stays("slow headers", func() {
		var conns []*raw
		for range 200 {
			c := s.raw()
			if _, err := io.WriteString(c, "POST /v1/transactions HTTP/1.1\r\nHost: n\r\nX-Slow: "); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the server waits for headers without end")
			}
		}
	})
}

// Two thousand subscriptions that read nothing, on a few connections, share a
// watch; all are told, and they cost little.
func TestThousandsOfIdleSubscriptions(t *testing.T) {
	s := newServer(t, compat.Config{})
	const many = 2000
	s.stays("idle subscriptions", func() {
		var idle []*lines
		for range many {
			idle = append(idle, s.stream(h2, "POST", "/v1/subscriptions", `["SELECT id, port FROM machines WHERE app = 'web'"]`))
		}
		s.write(`["INSERT INTO machines (id, app, port) VALUES ('m1', 'web', 80)"]`)
		for _, l := range idle {
			l.expect(`{"columns":["id","port"]}`, `{"eoq":{"time":T,"change_id":0}}`, `{"change":["insert",1,["m1",80],1]}`)
			l.res.Body.Close()
		}
	})
}

// Clients that send large bodies and never their ends hold no more memory than
// they may together: the others are told so. Small writes go on beside them.
func TestLargeBodiesAtOnce(t *testing.T) {
	s := &server{t: t, dir: t.TempDir(), addr: "127.0.0.1:0", web: httpd.Config{Bodies: 8 << 20}}
	s.start()
	t.Cleanup(func() { s.stop() })
	s.stays("large bodies", func() {
		const clients = 20
		part := bytes.Repeat([]byte{' '}, 5<<20)
		answers := make(chan string, clients)
		var held []*raw
		for range clients {
			c := s.raw()
			held = append(held, c)
			_, _ = fmt.Fprintf(c, "POST /v1/queries HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 15<<20)
			go func() { _, _ = c.Write(part) }() // it may be refused before its end
			go func() {
				status := make([]byte, len("HTTP/1.1 503"))
				if _, err := io.ReadFull(c, status); err != nil {
					status = []byte(err.Error()) // a reset may overtake the answer
				}
				answers <- string(status)
			}()
		}
		told := 0
		for range clients - 1 { // two of 5 MiB are more than 8 MiB
			switch got := <-answers; {
			case got == "HTTP/1.1 503":
				told++
			case strings.Contains(got, "timeout"):
				t.Error("a body too much was waited for")
			}
		}
		if told == 0 {
			t.Error("no client was told why")
		}
		s.write(`["INSERT INTO machines (id) VALUES ('small')"]`)
		for _, c := range held {
			c.Close()
		}
	})
}

// Beyond the limits connections are closed and requests are answered 503; those
// that are there are served, and when they end others are.
func TestLimitsOfConnectionsAndRequests(t *testing.T) {
	s := &server{t: t, dir: t.TempDir(), addr: "127.0.0.1:0", web: httpd.Config{Conns: 20, Requests: 5}}
	s.start()
	t.Cleanup(func() { s.stop() })
	var held []*lines
	for range 5 {
		held = append(held, s.stream(h2, "POST", "/v1/subscriptions", `["SELECT id FROM machines"]`))
	}
	if status, text := s.ask("POST", "/v1/queries", `"SELECT 1"`); status != http.StatusServiceUnavailable || !strings.Contains(text, "as many requests") {
		t.Errorf("one request more: %d %s", status, text)
	}
	held[0].res.Body.Close()
	status, deadline := 0, time.Now().Add(20*time.Second)
	for status != http.StatusOK && time.Now().Before(deadline) { // as soon as its end is noticed
		status, _ = s.ask("POST", "/v1/queries", `"SELECT 1"`)
	}
	if status != http.StatusOK {
		t.Errorf("after one ended: %d", status)
	}
	var conns []*raw
	for range 19 {
		conns = append(conns, s.raw())
	}
	if _, err := s.raw().Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one connection more is kept: %v", err)
	}
	s.write(`["INSERT INTO machines (id) VALUES ('m1')"]`)
	held[1].expect(`{"columns":["id"]}`, `{"eoq":{"time":T,"change_id":0}}`, `{"change":["insert",1,["m1"],1]}`)
	for _, c := range conns {
		c.Close()
	}
}
