package federation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/pelletier/go-toml/v2"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
)

// stopWithin is how long a child has to end after SIGTERM.
const stopWithin = 15 * time.Second

// children runs each node as a process of its own, from a configuration file
// like anybody's. None of them outlives this process: they are told to stop
// when the federation ends, and the kernel kills them if this process is
// killed. (It does so when the thread that started them ends, so all are
// started by one, which ends last.)
type children struct {
	f      *Federation
	starts chan start
}

type start struct {
	cmd    *exec.Cmd
	result chan error
}

func newChildren(ctx context.Context, f *Federation) (*children, error) {
	if _, err := exec.LookPath(f.cfg.Binary); err != nil {
		return nil, fmt.Errorf("binary of the nodes: %w", err)
	}
	c := &children{f: f, starts: make(chan start)}
	go c.starter(ctx)
	return c, nil
}

// starter owns the thread that is the children's parent in the kernel's eyes.
func (c *children) starter(ctx context.Context) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	for {
		select {
		case s := <-c.starts:
			s.result <- s.cmd.Start()
		case <-ctx.Done():
			c.f.wait()
			return
		}
	}
}

func (c *children) launch(ctx context.Context, n Node) (*running, error) {
	file, err := c.f.writeConfig(n)
	if err != nil {
		return nil, err
	}
	log, err := c.f.paths.openLog(n)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd := exec.CommandContext(ctx, c.f.cfg.Binary, "run", "--role", string(n.Role), "-c", file)
	if n.Role == Region {
		cmd.Args = append(cmd.Args, "--bug-file", c.f.paths.bug())
	}
	links, err := c.f.giveLinks(cmd)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // a Ctrl-C at the terminal is ours to pass on
		Pdeathsig: syscall.SIGKILL,
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWithin
	if err := c.begin(ctx, cmd); err != nil {
		links.close()
		return nil, err
	}
	told := links.serve(ctx, n)
	r := &running{
		node: n, pid: cmd.Process.Pid, ended: make(chan struct{}),
		kill: func() { _ = cmd.Process.Kill() }, // fails if it is over
	}
	go func() {
		defer close(r.ended)
		defer told()
		if r.err = cmd.Wait(); r.err == nil {
			r.err = errors.New("it returned without being asked to")
		}
		if ctx.Err() == nil {
			r.err = fmt.Errorf("%w (its log is %s)", r.err, log.Name())
		}
	}()
	return r, nil
}

// begin has the one thread start a child.
func (c *children) begin(ctx context.Context, cmd *exec.Cmd) error {
	s := start{cmd, make(chan error, 1)}
	select {
	case c.starts <- s:
		return <-s.result
	case <-ctx.Done():
		return ctx.Err()
	}
}

// configFile is the name of a child's configuration, in its directory.
const configFile = "config.toml"

func (f *Federation) writeConfig(n Node) (string, error) {
	text, err := toml.Marshal(f.config(n))
	if err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	file := filepath.Join(f.paths.node(n), configFile)
	if _, err := config.Parse(config.Role(n.Role), file, text); err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	if err := renameio.WriteFile(file, text, 0o600); err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	return file, nil
}

func (f *Federation) config(n Node) config.File {
	files := f.paths.identity(n.ID())
	common := config.Common{
		Fleet: Fleet, Node: string(n.Name), Locality: string(n.Where()), Data: f.paths.node(n), Admin: n.Admin,
		Control: filepath.Join(f.paths.node(n), "control.toml"),
		TLS:     config.TLS{Cert: files.Cert, Key: files.Key, CA: files.CA},
		Log:     config.Log{Level: "info", Format: "text"},
	}
	gossip := config.Gossip{Listen: n.Gossip, Seeds: f.plan.Seeds(n)}
	grpc := config.GRPC{Listen: n.GRPC}
	switch n.Role {
	case Region:
		return &config.Region{
			Common: common, Region: string(n.Region), Generation: f.plan.Generations[n.Region].String(),
			Durability: "fsync", Schema: f.cfg.Schema, Socket: f.paths.socketOf(n), Globals: f.plan.GlobalAddresses(), Gossip: gossip, GRPC: grpc,
			HTTP: config.HTTP{Listen: n.HTTP},
		}
	case Global:
		brake := "observe"
		if f.cfg.Enforce {
			brake = "enforce"
		}
		return &config.Global{Common: common, Durability: "fsync", Brake: brake, Gossip: gossip, GRPC: grpc}
	}
	return &config.Router{Common: common, Globals: f.plan.GlobalAddresses(), GRPC: grpc}
}
