package run_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/checkpointcmd"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/cli"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/run"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/store/diskfault"
)

// TestMain is also the firebreak that tests start as processes of their own,
// and that a node starts to make checkpoints.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		code := firebreak(ctx, os.Stdin, os.Stdout, os.Stderr, os.Args[1:]...)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func firebreak(ctx context.Context, in io.Reader, out, errs io.Writer, args ...string) int {
	return cli.Main(ctx, cli.Config{
		Args: args, In: in, Out: out, Err: errs, Version: "test",
		Extra: []*cobra.Command{run.Command("test"), checkpointcmd.Command()},
	})
}

// nodeProcess is a region node in a process of its own.
type nodeProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	socket string
	errs   *logs
	ended  chan struct{}
}

// region writes the file of a region's only node.
func (h *host) region(name, more string) (file, data, socket string) {
	h.t.Helper()
	cert, key, err := h.ca.Issue(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: name}, nil, time.Hour)
	if err != nil {
		h.t.Fatal(err)
	}
	short, err := os.MkdirTemp("", "fb") // paths of sockets are short
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { os.RemoveAll(short) })
	data, socket = filepath.Join(h.dir, name), filepath.Join(short, "s")
	return h.write(name+".toml", fmt.Sprintf(`fleet = "acme"
node = %q
region = "iad"
generation = "1-0123456789abcdef"
data = %q
socket = %q
[gossip]
listen = "127.0.0.1:0"
[grpc]
listen = "127.0.0.1:0"
[tls]
cert = %q
key = %q
ca = %q
%s`, name, data, socket, h.write(name+".pem", string(cert)), h.write(name+".key", string(key)), filepath.Join(h.dir, "ca.pem"), more)), data, socket
}

func startNode(t *testing.T, file, socket string, env ...string) *nodeProcess {
	t.Helper()
	n := &nodeProcess{t: t, cmd: exec.Command(os.Args[0], "run", "--role", "region", "-c", file), socket: socket, errs: &logs{}, ended: make(chan struct{})}
	n.cmd.Env = append(os.Environ(), env...)
	n.cmd.Stdout, n.cmd.Stderr = n.errs, n.errs
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = n.cmd.Wait(); close(n.ended) }()
	t.Cleanup(func() { _ = n.cmd.Process.Kill(); <-n.ended })
	return n
}

// call runs a command that asks the node by its socket.
func (n *nodeProcess) call(args ...string) (string, int) {
	var out, errs bytes.Buffer
	code := firebreak(context.Background(), strings.NewReader(""), &out, &errs, append(args, "--socket", n.socket, "--timeout", "5s", "-o", "json")...)
	return out.String() + errs.String(), code
}

func (n *nodeProcess) eventually(what string, look func() bool) {
	n.t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for !look() {
		select {
		case <-deadline:
			n.t.Fatalf("not within 30s: %s\n%s", what, n.errs)
		case <-tick.C:
		}
	}
}

func (n *nodeProcess) publish(id string) bool {
	_, code := n.call("machine", "publish", id, "--app", "web")
	return code == 0
}

func (n *nodeProcess) stop() {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	<-n.ended
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Errorf("exit %d after SIGTERM:\n%s", code, n.errs)
	}
}

// A failed fsync ends `firebreak run` with its own code, and a start by the
// supervisor has all that was acknowledged.
func TestFailedFsyncEndsRunWithItsOwnCode(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc, to compile the faulty disk")
	}
	disk, err := diskfault.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file, _, socket := newHost(t).region("w1", "")
	n := startNode(t, file, socket, disk.Env()...)
	n.eventually("the node takes a machine", func() bool { return n.publish("m1") })
	if err := disk.Set(diskfault.Rule{Call: "sync", Suffix: ".db-wal"}.Fail(syscall.EIO)); err != nil {
		t.Fatal(err)
	}
	if n.publish("m2") {
		t.Error("a write that the disk did not confirm was acknowledged")
	}
	select {
	case <-n.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("the process goes on:\n%s", n.errs)
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 74 || !strings.Contains(n.errs.String(), "fsync") {
		t.Errorf("exit %d:\n%s", code, n.errs)
	}
	if err := disk.Set(); err != nil {
		t.Fatal(err)
	}
	n = startNode(t, file, socket, disk.Env()...)
	n.eventually("the node takes machines again", func() bool { return n.publish("m3") })
	out, _ := n.call("machine", "list")
	if !strings.Contains(out, `"m1"`) || !strings.Contains(out, `"m3"`) {
		t.Errorf("after the restart: %s", out)
	}
	n.stop()
}

// A node copies its database as its configuration says; the copy is listed,
// verified, refused as it is by another node, and restored for it.
func TestRegionNodeIsRestoredFromItsCheckpoints(t *testing.T) {
	h := newHost(t)
	copies := filepath.Join(h.dir, "copies")
	file, data, socket := h.region("w1", fmt.Sprintf("[checkpoint]\ndir = %q\n", copies))
	withSchema(h, file, "CREATE TABLE flags (id TEXT NOT NULL PRIMARY KEY, v TEXT);")
	n := startNode(t, file, socket)
	n.eventually("the node takes a machine", func() bool { return n.publish("m1") })
	command := func(args ...string) (string, int) {
		var out, errs bytes.Buffer
		cmd := exec.Command(os.Args[0], append([]string{"checkpoint"}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatal(err)
		}
		return out.String() + errs.String(), cmd.ProcessState.ExitCode()
	}
	n.eventually("there is a copy", func() bool {
		out, code := command("list", "--dir", copies, "-o", "json")
		var l struct{ Checkpoints []struct{ Node string } }
		return code == 0 && json.Unmarshal([]byte(out), &l) == nil && len(l.Checkpoints) == 1 && l.Checkpoints[0].Node == "w1"
	})
	plain := filepath.Join(h.dir, "plain.db")
	if out, code := command("create", "--database", filepath.Join(data, "node.db"), "--to", plain); code != 0 {
		t.Errorf("create: exit %d: %s", code, out)
	}
	n.publish("m2")
	n.stop()
	if out, code := command("verify", "--dir", copies, "--node", "w1"); code != 0 || !strings.Contains(out, "sound: fleet acme, region/iad, node w1") || strings.Contains(out, "not read") {
		t.Errorf("verify: exit %d: %s", code, out)
	}
	if out, code := command("restore", "--dir", copies, "--node", "w9", "--to", filepath.Join(h.dir, "x")); code != 3 {
		t.Errorf("restore of a node without copies: exit %d: %s", code, out)
	}
	if out, code := command("restore", "--dir", copies, "--node", "w1", "--at", "2020-01-01T00:00:00Z", "--to", filepath.Join(h.dir, "x")); code != 3 {
		t.Errorf("restore to before the first: exit %d: %s", code, out)
	}

	file2, data2, socket2 := h.region("w2", "")
	if err := os.MkdirAll(data2, 0o700); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(data2, "node.db")
	if err := os.Rename(plain, restored); err != nil {
		t.Fatal(err)
	}
	foreign := startNode(t, file2, socket2)
	<-foreign.ended
	if code := foreign.cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(foreign.errs.String(), `node "w1", wanted "w2"`) {
		t.Errorf("a file of w1, run by w2: exit %d:\n%s", code, foreign.errs)
	}
	if err := os.Remove(restored); err != nil {
		t.Fatal(err)
	}
	if out, code := command("restore", "--dir", copies, "--node", "w1", "--as", "w2", "--to", restored); code != 0 {
		t.Fatalf("restore: exit %d: %s", code, out)
	}
	n2 := startNode(t, file2, socket2)
	n2.eventually("w2 has what w1 had", func() bool {
		out, code := n2.call("machine", "list")
		return code == 0 && strings.Contains(out, `"m1"`) && strings.Contains(out, `"m2"`)
	})
	if !n2.publish("own") {
		t.Error("w2 takes no machine")
	}
	n2.stop()
}
