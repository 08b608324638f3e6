package federation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/datadir"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
)

// script stands for the binary: it notes that it runs and with which
// arguments, and then does what the test says.
func script(t *testing.T, do string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firebreak")
	text := "#!/bin/sh\necho \"$@\" > \"$5.args\"\necho $$ > \"$5.pid\"\n" + do + "\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, binary string) *Federation {
	t.Helper()
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "dev"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(Config{Dir: dir, Spec: spec(), Processes: true, Binary: binary, Links: link.New(link.Config{}), Progress: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(f.Close(), dir.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// await waits for what is asked of a child, which lives in real time.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func TestEveryChildHasAConfigurationThatItsRoleTakes(t *testing.T) {
	f := open(t, "true")
	for _, n := range f.plan.Nodes {
		file, err := f.writeConfig(n)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(f.paths.dir, filepath.FromSlash(n.String()), "config.toml"); file != want {
			t.Errorf("%v: %s, want %s", n, file, want)
		}
		c, err := config.Load(config.Role(n.Role), file)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Shared(); got.Node != string(n.Name) || got.Fleet != Fleet || got.TLS.Cert != f.paths.identity(n.ID()).Cert {
			t.Errorf("%v: %+v", n, got)
		}
		if g, ok := c.(*config.Global); ok && g.Brake != "observe" {
			t.Errorf("%v: the brake %ss", n, g.Brake)
		}
	}
}

func TestChildrenRunTheirRoleAndAreStoppedWithTheFederation(t *testing.T) {
	f := open(t, script(t, `trap 'exit 0' TERM; while :; do sleep 0.05; done`))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l, err := f.launcher(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range f.plan.Nodes {
		if err := f.startNode(ctx, ctx, l, n); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range f.started() {
		file := filepath.Join(f.paths.node(r.node), "config.toml")
		want := "run --role " + string(r.node.Role) + " -c " + file
		if r.node.Role == Region {
			want += " --bug-file " + f.paths.bug()
		}
		want += " --links-fd 3"
		await(t, "the arguments of "+r.node.String(), func() bool {
			b, err := os.ReadFile(file + ".args")
			return err == nil && string(b) == want+"\n"
		})
		if r.pid == os.Getpid() || !alive(r.pid) {
			t.Errorf("%v has pid %d", r.node, r.pid)
		}
	}
	if n := len(f.PIDs()); n != len(f.plan.Nodes) {
		t.Errorf("%d processes for %d nodes", n, len(f.plan.Nodes))
	}
	stop()
	f.wait()
	for _, r := range f.started() {
		if alive(r.pid) {
			t.Errorf("%v lives on as %d", r.node, r.pid)
		}
	}
}

func TestAChildThatDiesIsReportedAndTheOthersGoOn(t *testing.T) {
	f := open(t, script(t, `while :; do sleep 0.05; done`))
	said := make(chan string, 10)
	f.cfg.Progress = func(line string) { said <- line }
	ctx, stop := context.WithCancel(t.Context())
	defer func() { stop(); f.wait() }()
	l, err := f.launcher(ctx)
	if err != nil {
		t.Fatal(err)
	}
	nodes := f.plan.In("ams")
	for _, n := range nodes {
		if err := f.startNode(ctx, ctx, l, n); err != nil {
			t.Fatal(err)
		}
	}
	victim := f.started()[0]
	if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-victim.ended
	select {
	case line := <-said:
		for _, want := range []string{"ams/ams-1", strconv.Itoa(victim.pid), "signal: killed", "not started again", filepath.Join("ams", "ams-1", "log")} {
			if !strings.Contains(line, want) {
				t.Errorf("%q does not say %q", line, want)
			}
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was said")
	}
	for _, r := range f.started()[1:] {
		if !alive(r.pid) {
			t.Errorf("%v died too", r.node)
		}
	}
}

// TestChildrenDieWithAProcessThatIsKilled runs itself as the parent, kills it,
// and looks for its children.
func TestChildrenDieWithAProcessThatIsKilled(t *testing.T) {
	if binary := os.Getenv("FIREBREAK_TEST_PARENT"); binary != "" {
		f := open(t, binary)
		l, err := f.launcher(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range f.plan.In("ams") {
			if err := f.startNode(t.Context(), t.Context(), l, n); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Println("pids", f.PIDs())
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildrenDieWithAProcessThatIsKilled$")
	cmd.Env = append(os.Environ(), "FIREBREAK_TEST_PARENT="+script(t, `trap '' TERM INT HUP; while :; do sleep 0.05; done`), "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids [3]int
	if _, err := fmt.Fscanf(out, "pids [%d %d %d]", &pids[0], &pids[1], &pids[2]); err != nil {
		cmd.Process.Kill()
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // killed
	for _, pid := range pids {
		await(t, fmt.Sprintf("the end of child %d", pid), func() bool { return !alive(pid) })
	}
}

func TestAMissingBinaryIsNamed(t *testing.T) {
	f := open(t, "/nonexistent/firebreak")
	if _, err := f.launcher(t.Context()); err == nil || !strings.Contains(err.Error(), "/nonexistent/firebreak") {
		t.Errorf("got %v", err)
	}
}

func TestOpenKeepsAFormerPlanAndItsCertificates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dev")
	var plans []Plan
	var certs []string
	for round := range 3 {
		dir, err := datadir.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Dir: dir, Spec: spec(), Progress: func(string) {}}
		if round == 1 {
			var former Plan
			if found, err := dir.Load(&former); err != nil || !found {
				t.Fatalf("no former plan: %v", err)
			}
			cfg.Former = &former
		}
		f, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, f.Plan())
		cert, err := os.ReadFile(f.paths.identity(f.plan.Nodes[0].ID()).Cert)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, string(cert))
		if err := errors.Join(f.Close(), dir.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if g := plans[0].Generations["ams"]; g != plans[1].Generations["ams"] || g == plans[2].Generations["ams"] || g.Bits == 0 {
		t.Error("the generation is not that of the former run, or is one for all runs")
	}
	if certs[0] != certs[1] || certs[0] == certs[2] {
		t.Error("certificates are not those of the former run, or outlive a clearing")
	}
}
