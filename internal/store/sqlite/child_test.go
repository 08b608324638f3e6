package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// The test binary is also the process whose disk fails or that is killed.
const (
	childPath = "FIREBREAK_TEST_CHILD"      // its database
	childKind = "FIREBREAK_TEST_CHILD_KIND" // what it does: a key of children
	childSync = "FIREBREAK_TEST_CHILD_OS"   // set: without fsync
)

var children = map[string]func(context.Context, *sqlite.DB){"write": writeUntilKilled, "serve": serveLines}

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		applyUntilCrashed(path)
	}
	if path := os.Getenv(childPath); path != "" {
		beChild(path)
	}
	os.Exit(m.Run())
}

// exitFailed is what the child ends with when its store has failed.
const exitFailed = 74

func beChild(path string) {
	ctx := context.Background()
	tables, err := sqlite.ParseSQL(sqlite.TestSchema)
	dieOf(err)
	cfg := sqlite.Config{Path: path, Fleet: "test", Cluster: "region/iad", Node: "w1", Tables: tables, SetAside: true}
	if os.Getenv(childSync) != "" {
		cfg.Durability = sqlite.OS
	}
	db, err := sqlite.Open(ctx, cfg)
	dieOf(err)
	go func() {
		fmt.Fprintln(os.Stderr, db.Watch(ctx))
		os.Exit(exitFailed)
	}()
	children[os.Getenv(childKind)](ctx, db)
	dieOf(db.Close())
	os.Exit(0)
}

func dieOf(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

// serveLines answers requests, each in a goroutine of its own, until its input
// ends. A request is a number, a verb and an argument; an answer is the number
// and a word, and the error if there is one.
func serveLines(ctx context.Context, db *sqlite.DB) {
	var group sync.WaitGroup
	defer group.Wait()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		f := strings.Fields(in.Text())
		group.Go(func() {
			out, err := serveLine(ctx, db, f[1], f[2])
			if err != nil {
				out = "error: " + err.Error()
			}
			fmt.Printf("%s %s\n", f[0], strings.ReplaceAll(out, "\n", " "))
		})
	}
}

func serveLine(ctx context.Context, db *sqlite.DB, verb, arg string) (string, error) {
	switch verb {
	case "put":
		c, err := db.Update(ctx, func(x store.Tx) error { return x.Put("machines", machine("w1", arg, strings.Repeat("x", 3000))) })
		return c.Point.String(), err
	case "apply": // a version of w2
		v, err := strconv.Atoi(arg)
		if err != nil {
			return "", err
		}
		out, err := db.Apply(ctx, []record.Delivery{pushed(record.Writer{Node: "w2", Boot: 9, Bits: 1}, record.Version(v), machineRecord("w2", arg, strings.Repeat("y", 3000)))})
		return fmt.Sprintf("%+v", out), err
	case "read":
		res, err := db.Query(ctx, sqlite.Query{SQL: "SELECT id, app FROM machines WHERE worker = '" + arg + "'"}, func([]string, store.Row) error { return nil })
		return fmt.Sprintf("%d rows", res.Rows), err
	case "withheld":
		return fmt.Sprint(db.Stats().Withheld), nil
	}
	return "", fmt.Errorf("verb %q", verb)
}

// child is a process that serves lines.
type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	next int

	mu      sync.Mutex
	answers map[string]chan string
	ended   chan struct{}
}

func startChild(t *testing.T, path string, env ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0]), answers: map[string]chan string{}, ended: make(chan struct{})}
	c.cmd.Env = append(append(os.Environ(), childPath+"="+path, childKind+"=serve"), env...)
	if testing.Verbose() {
		c.cmd.Stderr = os.Stderr
	}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go c.listen(out)
	t.Cleanup(func() { c.cmd.Process.Kill(); <-c.ended })
	return c
}

func (c *child) listen(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n, answer, _ := strings.Cut(lines.Text(), " ")
		c.mu.Lock()
		if ch := c.answers[n]; ch != nil {
			ch <- answer
		}
		c.mu.Unlock()
	}
	_ = c.cmd.Wait() // its code is looked at where it matters
	close(c.ended)
}

// begin sends a request; its answer comes on the channel.
func (c *child) begin(verb, arg string) <-chan string {
	c.t.Helper()
	c.next++
	n := fmt.Sprint(c.next)
	ch := make(chan string, 1)
	c.mu.Lock()
	c.answers[n] = ch
	c.mu.Unlock()
	if _, err := fmt.Fprintln(c.in, n, verb, arg); err != nil {
		c.t.Fatal(err)
	}
	return ch
}

// ask returns the answer; empty if the process ended before.
func (c *child) ask(verb, arg string) string {
	c.t.Helper()
	ch := c.begin(verb, arg)
	select {
	case s := <-ch:
		return s
	case <-c.ended:
		return ""
	case <-time.After(30 * time.Second):
		c.t.Fatalf("no answer to %s %s within 30s", verb, arg)
		return ""
	}
}

// stop ends the process as SIGTERM would.
func (c *child) stop() {
	c.t.Helper()
	_ = c.in.Close()
	<-c.ended
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		c.t.Errorf("the process ended with %d", code)
	}
}
