package process

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/router/catalog"

	// The binary is made of these; so that go test runs the test again when
	// they change.
	_ "github.com/firebreak-dev/firebreak/cmd/firebreak/cli"
	_ "github.com/firebreak-dev/firebreak/cmd/firebreak/run"
)

// process is one role of the federation, started from its file.
type process struct {
	f    *federation
	role string
	name string // unique
	file string
	log  string

	cmd *exec.Cmd // nil while it is down
}

// start starts the binary. It ends with the test at the latest.
func (p *process) start() {
	p.f.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.f.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.f.binary, "run", "--role", p.role, "-c", p.file)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that is killed leaves nothing behind
	if err := cmd.Start(); err != nil {
		p.f.t.Fatalf("start %s: %v", p.name, err)
	}
	p.cmd = cmd
}

// kill is kill -9.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

// stop is SIGTERM: the process drains and exits 0 within 10 s.
func (p *process) stop() {
	p.f.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.f.t.Fatalf("stop %s: %v", p.name, err)
	}
	start := time.Now()
	hung := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer hung.Stop()
	if err := p.cmd.Wait(); err != nil {
		p.f.t.Errorf("%s after SIGTERM: %v\n%s", p.name, err, p.tail())
	}
	p.f.t.Logf("%-60s %v", p.name+" stops", time.Since(start).Round(time.Millisecond))
	p.cmd = nil
}

// tail is the end of the process's log.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return p.name + ":\n  " + strings.Join(lines[max(0, len(lines)-6):], "\n  ")
}

// federation is a fleet of processes on this host.
type federation struct {
	t         *testing.T
	dir       string
	binary    string
	ports     []int // free ones, to be taken from the front
	processes []*process
	globals   []string          // gRPC addresses
	routers   []string          // gRPC addresses
	workers   map[string]string // region/name: gRPC address
	truth     []machine
	edge      *catalog.Client
}

// build builds the binary and an empty federation, whose processes end with
// the test.
func build(t *testing.T) *federation {
	t.Helper()
	f := &federation{t: t, dir: t.TempDir(), workers: map[string]string{}}
	f.binary = filepath.Join(f.dir, "firebreak")
	out, err := exec.Command("go", "build", "-o", f.binary, "github.com/firebreak-dev/firebreak/cmd/firebreak").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	f.ports = freePorts(t, 48)
	t.Cleanup(func() {
		for _, p := range f.processes {
			if t.Failed() {
				t.Log(p.tail())
			}
			p.kill()
		}
	})
	f.must("tls", "init", "--fleet", "acme", "--dir", f.path("ca"))
	f.issue("operator", "", "ops")
	f.issue("client", "", "edge")
	return f
}

// freePorts finds ports that nobody has, for UDP and TCP alike. All are held
// until all are found.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for tries := 0; len(out) < n && tries < 10*n; tries++ {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer lis.Close()
		port := lis.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		defer udp.Close()
		out = append(out, port)
	}
	if len(out) < n {
		t.Fatalf("only %d of %d ports are free", len(out), n)
	}
	return out
}

func (f *federation) address() string {
	port := f.ports[0]
	f.ports = f.ports[1:]
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func (f *federation) path(parts ...string) string {
	return filepath.Join(append([]string{f.dir}, parts...)...)
}

// result is what a command of the binary did.
type result struct {
	code     int
	out, err string
}

func (r result) String() string { return fmt.Sprintf("exit %d: %s%s", r.code, r.out, r.err) }

// run runs a command of the binary.
func (f *federation) run(args ...string) result {
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.binary, args...)
	cmd.Env = append(os.Environ(), "FIREBREAK_DEV="+f.path("no-dev"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		f.t.Fatalf("firebreak %s: %v", strings.Join(args, " "), err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// must runs a command that has to succeed.
func (f *federation) must(args ...string) string {
	f.t.Helper()
	r := f.run(args...)
	if r.code != 0 {
		f.t.Fatalf("firebreak %s: %v", strings.Join(args, " "), r)
	}
	return r.out
}

func (f *federation) issue(role, region, name string) {
	f.t.Helper()
	f.must("tls", "issue", "--dir", f.path("ca"), "--role", role, "--region", region, "--name", name, "--host", "127.0.0.1", "--out", f.tlsDir(region, name))
}

func (f *federation) tlsDir(region, name string) string { return f.path("tls", region+"-"+name) }

// as gives the flags that call as the operator or the edge.
func (f *federation) as(name string) []string {
	dir := f.tlsDir("", name)
	return []string{"--cert", filepath.Join(dir, name+".pem"), "--key", filepath.Join(dir, name+".key"), "--ca", filepath.Join(dir, "ca.pem")}
}

// add writes a role's file and returns its process, not started.
func (f *federation) add(role, region, name, text string) *process {
	f.t.Helper()
	unique := strings.TrimPrefix(region+"-"+name, "-")
	dir := f.tlsDir(region, name)
	text = fmt.Sprintf("fleet = \"acme\"\nnode = %q\ndata = %q\n%s[tls]\ncert = %q\nkey = %q\nca = %q\n", name, f.path("data", unique), text,
		filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"), filepath.Join(dir, "ca.pem"))
	p := &process{f: f, role: role, name: unique, file: f.path(unique + ".toml"), log: f.path(unique + ".log")}
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.must("config", "check", p.file, "--role", role)
	f.processes = append(f.processes, p)
	return p
}

// step waits until check has nothing to say, within bound.
func (f *federation) step(name string, bound time.Duration, check func() error) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), bound)
	defer cancel()
	start := time.Now()
	for {
		err := check()
		if err == nil {
			f.t.Logf("%-60s %v", name, time.Since(start).Round(time.Millisecond))
			return
		}
		if backoff.Wait(ctx, 100*time.Millisecond) != nil {
			f.t.Fatalf("step failed: %s: not within %v: %v", name, bound, err)
		}
	}
}
