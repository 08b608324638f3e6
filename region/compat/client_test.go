package compat_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/region/compat"
)

// buildClient builds the program around the client that is published for
// Corrosion. Its build is kept in the user's cache.
func buildClient(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a Rust program of 200 crates; -short leaves it out")
	}
	out, err := exec.Command("cargo", "--version").Output()
	if err != nil {
		t.Skipf("no cargo here to build the published Rust client: %v", err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(out), "cargo %d.%d", &major, &minor); err != nil || major == 1 && minor < 89 {
		t.Skipf("the published Rust client needs cargo 1.89, and this is %s", out)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache directory to build in: %v", err)
	}
	target := filepath.Join(cache, "firebreak", "corro-client")
	src := t.TempDir() // cargo writes its lock file beside the manifest
	if err := os.CopyFS(src, os.DirFS("testdata/corro-client")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cargo", "build", "--quiet")
	cmd.Dir, cmd.Env = src, append(os.Environ(), "CARGO_TARGET_DIR="+target)
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "failed to download") || strings.Contains(string(out), "Could not resolve host") {
			t.Skipf("crates.io cannot be reached: %s", out)
		}
		t.Fatalf("cargo build: %v\n%s", err, out)
	}
	return filepath.Join(target, "debug", "drive")
}

// driver is the running program.
type driver struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out chan string
}

func (s *server) drive(t *testing.T, program, addr string) *driver {
	t.Helper()
	d := &driver{t: t, cmd: exec.Command(program, addr), out: make(chan string, 100_000)}
	in, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.cmd.StdoutPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.in = in
	go func() {
		defer close(d.out)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			d.out <- times.ReplaceAllString(lines.Text(), `"time":T`)
		}
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
	})
	return d
}

// do sends a command. What answers it is a line among those of streams.
func (d *driver) do(command string) {
	d.t.Helper()
	if _, err := io.WriteString(d.in, command+"\n"); err != nil {
		d.t.Fatal(err)
	}
}

func (d *driver) next() string {
	d.t.Helper()
	select {
	case line, ok := <-d.out:
		if !ok {
			d.t.Fatal("the client's program ended")
		}
		return line
	case <-time.After(30 * time.Second):
		d.t.Fatal("nothing came for half a minute")
	}
	return ""
}

func (d *driver) expect(want ...string) {
	d.t.Helper()
	for _, w := range want {
		if got := d.next(); got != w {
			d.t.Fatalf("the client says %s\nwant             %s", got, w)
		}
	}
}

// proxy passes connections on, and cuts them all.
type proxy struct {
	lis net.Listener
	mu  sync.Mutex
	now []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{lis: lis}
	t.Cleanup(func() { lis.Close(); p.cut() })
	go func() {
		for {
			a, err := lis.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			p.mu.Lock()
			p.now = append(p.now, a, b)
			p.mu.Unlock()
			for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
				}()
			}
		}
	}()
	return p
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.now {
		c.Close()
	}
	p.now = nil
}

// The client that is published for Corrosion works with a region node.
func TestPublishedRustClient(t *testing.T) {
	program := buildClient(t)
	s := newServer(t, compat.Config{Stall: 2 * time.Second})
	d := s.drive(t, program, s.addr)

	d.do(`{"exec": [["INSERT INTO types VALUES (?, ?, ?, ?, ?)", ["t1", 9007199254740993, 2.0, "x", [0, 1, 255]]], {"query": "INSERT INTO types (id, i) VALUES (:id, :i)", "params": null, "named_params": {":id": "t2", ":i": -9223372036854775808}}]}`)
	d.expect(`{"exec":{"actor_id":"` + actorOf(s) + `","results":[{"rows_affected":1,"time":T},{"rows_affected":1,"time":T}],"time":T,"version":1}}`)
	d.do(`{"query": ["SELECT * FROM types ORDER BY id", null]}`)
	d.expect(`{"query":[{"columns":["id","i","r","t","b"]},{"row":[1,["t1",9007199254740993,2.0,"x",[0,1,255]]]},{"row":[2,["t2",-9223372036854775808,null,null,null]]},{"eoq":{"time":T}}]}`)
	d.do(`{"exec": ["INSERT INTO nosuch VALUES (1)"]}`)
	if line := d.next(); !strings.Contains(line, "ResponseError") || !strings.Contains(line, "no such table: nosuch") {
		t.Errorf("a failed transaction: %s", line)
	}
	d.do(`{"query": ["SELECT * FROM nosuch", 5]}`)
	if line := d.next(); !strings.Contains(line, "ResponseError") || !strings.Contains(line, "no such table: nosuch") {
		t.Errorf("a failed query: %s", line)
	}
	d.do(`{"stats": ["types", "nosuch"]}`)
	d.expect(`{"stats":{"invalid_tables":["nosuch"],"total_row_count":2}}`)
	s.health = compat.Health{Gaps: 1, Members: 3, P99Lag: 1}
	d.do(`{"health": ""}`)
	d.expect(`{"health":{"response":{"gaps":1,"members":3,"p99_lag":1.0,"queue_size":0}}}`)
	d.do(`{"updates": "types"}`)
	d.expect(`{"subscribed":true}`)
	s.write(`["DELETE FROM types WHERE id = 't2'"]`)
	d.expect(`{"notify":{"notify":["delete",["t2"]]}}`)
}

// It goes on with its subscription, without a hole, over a restart of the
// node, a cut of the network, and a pause in which it was too slow.
func TestPublishedRustClientResumes(t *testing.T) {
	program := buildClient(t)
	cut := cutOffs{make(chan string, 1)}
	s := newServer(t, compat.Config{Stall: time.Second, Logger: slog.New(slog.NewTextHandler(cut, nil))})
	p := newProxy(t, s.addr)
	d := s.drive(t, program, p.lis.Addr().String())
	s.write(`["INSERT INTO machines (id, app, port) VALUES ('m1', 'web', 0)"]`)
	d.do(`{"subscribe": "SELECT id, port, metadata FROM machines"}`)
	for seen := 0; seen < 4; seen++ { // {"subscribed"}, columns, row and end, of which the first may come anywhere
		d.next()
	}
	last := 0
	change := func(what string) string {
		t.Helper()
		last++
		line := d.next()
		var got struct {
			Event struct{ Change []json.RawMessage }
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil || len(got.Event.Change) != 4 || string(got.Event.Change[3]) != fmt.Sprint(last) {
			t.Fatalf("%s: want change %d, got %.300s", what, last, line)
		}
		return line
	}
	step := 0
	write := func() {
		t.Helper()
		step++
		s.write(fmt.Sprintf(`["UPDATE machines SET port = %d"]`, step))
	}
	write()
	change("at first")
	s.stop()
	s.start()
	write()
	change("after a restart")
	p.cut()
	write()
	change("after a cut")

	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 60_000)
	const many = 300 // more than the sockets hold
	for i := range many {
		s.write(fmt.Sprintf(`[["UPDATE machines SET metadata = ?", ["%d%s"]]]`, i, big))
	}
	select {
	case <-cut.seen:
	case <-time.After(30 * time.Second):
		t.Fatal("a client that did not read was never cut off")
	}
	if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	end := fmt.Sprintf(`"%dx`, many-1)
	for line := ""; !strings.Contains(line, end); { // writes that come together are one change
		line = change("after a pause")
	}
}

// cutOffs is a log of which one line matters.
type cutOffs struct{ seen chan string }

func (c cutOffs) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "cut off") {
		select {
		case c.seen <- string(line):
		default:
		}
	}
	return len(line), nil
}

func actorOf(s *server) string {
	id := compat.Actor(s.db.Writer())
	return strings.ReplaceAll(id.String(), "-", "")
}
