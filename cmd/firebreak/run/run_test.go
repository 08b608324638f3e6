package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cli"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/run"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

// host is a place where roles run: certificates, directories, files.
type host struct {
	t   *testing.T
	dir string
	ca  *identity.Authority
}

func newHost(t *testing.T) *host {
	t.Helper()
	ca, err := identity.NewAuthority("acme", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t, t.TempDir(), ca}
	h.write("ca.pem", string(ca.CertPEM()))
	return h
}

func (h *host) write(name, text string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// router writes a router's file with a certificate of id, and returns its path.
func (h *host) router(id identity.ID, data, grpc string) string {
	h.t.Helper()
	cert, key, err := h.ca.Issue(id, nil, time.Hour)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.write("router.toml", fmt.Sprintf(`fleet = "acme"
node = "r1"
data = %q
globals = ["127.0.0.1:1"]
[grpc]
listen = %q
[tls]
cert = %q
key = %q
ca = %q
`, data, grpc, h.write("r.pem", string(cert)), h.write("r.key", string(key)), filepath.Join(h.dir, "ca.pem")))
}

var routerID = identity.ID{Fleet: "acme", Role: identity.Router, Name: "r1"}

// logs is a process's standard error, read while it runs.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// play runs `firebreak run` until ctx ends.
func play(ctx context.Context, args ...string) (int, *logs) {
	l := &logs{}
	code := cli.Main(ctx, cli.Config{
		Args: append([]string{"run"}, args...), In: strings.NewReader(""), Out: l, Err: l, Version: "test",
		Extra: []*cobra.Command{run.Command("test")},
	})
	return code, l
}

// supervisor is systemd's end of the notification socket.
type supervisor struct {
	t    *testing.T
	conn *net.UnixConn
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &supervisor{t, conn}
}

// expect waits for a word.
func (s *supervisor) expect(word string) {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	b := make([]byte, 256)
	for {
		n, err := s.conn.Read(b)
		if err != nil {
			s.t.Fatalf("waiting for %s: %v", word, err)
		}
		if string(b[:n]) == word {
			return
		}
	}
}

func TestSupervisorIsToldOfStartLifeAndStop(t *testing.T) {
	h, s := newHost(t), newSupervisor(t)
	t.Setenv("WATCHDOG_USEC", "200000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	file := h.router(routerID, filepath.Join(h.dir, "data"), "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan int, 1)
	var l *logs
	go func() {
		var code int
		code, l = play(ctx, "--role", "router", "-c", file)
		done <- code
	}()
	s.expect("READY=1")
	s.expect("WATCHDOG=1")
	cancel()
	s.expect("STOPPING=1")
	if code := <-done; code != 0 {
		t.Errorf("exit %d after a stop:\n%v", code, l)
	}
}

func TestADirectoryOfAnotherNodeRoleOrFleetIsRefused(t *testing.T) {
	h, s := newHost(t), newSupervisor(t)
	data := filepath.Join(h.dir, "data")
	file := h.router(routerID, data, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); play(ctx, "--role", "router", "-c", file) }()
	s.expect("READY=1")
	cancel()
	<-done
	other := routerID
	other.Name = "r2"
	file = h.router(other, data, "127.0.0.1:0")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h.write(filepath.Base(file), strings.Replace(string(text), `node = "r1"`, `node = "r2"`, 1))
	code, l := play(t.Context(), "--role", "router", "-c", file)
	if code != 2 || !strings.Contains(l.String(), "is of fleet acme, router, node r1; this is fleet acme, router, node r2") {
		t.Errorf("exit %d:\n%v", code, l)
	}
	if err := os.WriteFile(filepath.Join(data, "owner"), []byte("fleet acme, region iad, node r1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, l = play(t.Context(), "--role", "router", "-c", h.router(routerID, data, "127.0.0.1:0"))
	if code != 2 || !strings.Contains(l.String(), "is of fleet acme, region iad, node r1") {
		t.Errorf("exit %d:\n%v", code, l)
	}
}

func TestSecondProcessOfADataDirectoryIsRefused(t *testing.T) {
	h, s := newHost(t), newSupervisor(t)
	file := h.router(routerID, filepath.Join(h.dir, "data"), "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); play(ctx, "--role", "router", "-c", file) }()
	s.expect("READY=1")
	code, l := play(t.Context(), "--role", "router", "-c", file)
	if code != 1 || !strings.Contains(l.String(), "another process uses it (process "+fmt.Sprint(os.Getpid())+")") {
		t.Errorf("exit %d:\n%v", code, l)
	}
	cancel()
	<-done
	again, stop := context.WithCancel(t.Context())
	defer stop()
	code3 := make(chan int, 1)
	go func() { code, _ := play(again, "--role", "router", "-c", file); code3 <- code }()
	s.expect("READY=1")
	stop()
	if code := <-code3; code != 0 {
		t.Errorf("after the first ended: exit %d", code)
	}
}

func TestPortInUseIsNamed(t *testing.T) {
	h := newHost(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	code, l := play(t.Context(), "--role", "router", "-c", h.router(routerID, filepath.Join(h.dir, "data"), lis.Addr().String()))
	if code != 1 || !strings.Contains(l.String(), lis.Addr().String()) || !strings.Contains(l.String(), "in use") {
		t.Errorf("exit %d:\n%v", code, l)
	}
}

func TestCertificateOfAnotherIsAConfigurationError(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		id   identity.ID
		want []string
	}{
		{identity.ID{Fleet: "acme", Role: identity.Router, Name: "r2"}, []string{`node "r2"`, `"r1"`}},
		{identity.ID{Fleet: "acme", Role: identity.Client, Name: "r9"}, []string{`node "r9"`, "role client"}},
		{identity.ID{Fleet: "acme", Role: identity.Global, Name: "r1"}, []string{"role global, want router"}},
	} {
		code, l := play(t.Context(), "--role", "router", "-c", h.router(c.id, filepath.Join(h.dir, "data"), "127.0.0.1:0"))
		if code != 2 {
			t.Errorf("%v: exit %d", c.id, code)
		}
		for _, want := range c.want {
			if !strings.Contains(l.String(), want) {
				t.Errorf("%v: %q is not said in\n%v", c.id, want, l)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(h.dir, "data")); err == nil {
		t.Error("a refused process made its data directory")
	}
}

func TestBadConfigurationIsTwo(t *testing.T) {
	h := newHost(t)
	good := h.router(routerID, filepath.Join(h.dir, "data"), "127.0.0.1:0")
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	bad := h.write("bad.toml", strings.Replace(string(text), "globals", "global", 1))
	missing := h.write("missing.toml", strings.Replace(string(text), "r.pem", "none.pem", 1))
	for _, args := range [][]string{
		{"--role", "router", "-c", filepath.Join(h.dir, "none.toml")}, {"--role", "router", "-c", bad}, {"--role", "router", "-c", missing},
		{"--role", "global", "-c", good}, {"--role", "king", "-c", good}, {"--role", "router"}, {"-c", good},
	} {
		if code, l := play(t.Context(), args...); code != 2 {
			t.Errorf("%v: exit %d\n%v", args, code, l)
		}
	}
	if _, l := play(t.Context(), "--role", "router", "-c", bad); !strings.Contains(l.String(), bad+`:4:1: global: unknown key; did you mean "globals"?`) {
		t.Errorf("%v", l)
	}
}

func TestReadOnlyFileSystemIsNamed(t *testing.T) {
	h := newHost(t)
	mount := filepath.Join(h.dir, "mount")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mount, "tmpfs", unix.MS_RDONLY, ""); errors.Is(err, unix.EPERM) {
		t.Skip("mounting needs privileges that this user lacks")
	} else if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}()
	for _, data := range []string{mount, filepath.Join(mount, "below")} {
		code, l := play(t.Context(), "--role", "router", "-c", h.router(routerID, data, "127.0.0.1:0"))
		if code != 1 || !strings.Contains(l.String(), "read-only file system") || !strings.Contains(l.String(), data) {
			t.Errorf("%s: exit %d\n%v", data, code, l)
		}
	}
}
