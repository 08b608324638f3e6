package checkpoint

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// Store is what a child's work depends on.
type Store interface {
	Writer() record.Writer
	LogBytes() int64
	RestartLog(ctx context.Context) error
}

// Config says what to copy where.
type Config struct {
	Dir      string                // where the copies go
	Database string                // path of the file
	State    string                // directory for the child's own files; emptied at every start of the node
	Store    Store                 // of the file
	Command  []string              // that runs a child; required
	Env      []string              // more of its environment
	Every    time.Duration         // between copies; zero means 1s
	MaxLog   int64                 // bytes of the log at which the child is killed; zero means 256 MiB
	Silence  time.Duration         // of the child, at which it is killed; zero means 10s
	Logger   *slog.Logger          // nil discards
	Metrics  prometheus.Registerer // nil leaves metrics unregistered
}

func (c Config) withDefaults() Config {
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.MaxLog == 0 {
		c.MaxLog = 256 << 20
	}
	if c.Silence == 0 {
		c.Silence = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Supervisor runs the child of a node. Make one with New and Run it once.
type Supervisor struct {
	cfg     Config
	metrics *metrics
	trouble atomic.Pointer[string]
	pid     atomic.Int64
}

// New returns a supervisor without a child.
func New(cfg Config) (*Supervisor, error) {
	if cfg.Dir == "" || cfg.Database == "" || cfg.State == "" || cfg.Store == nil || len(cfg.Command) == 0 {
		return nil, errors.New("checkpoint config: directory, database, state, store and command are required")
	}
	s := &Supervisor{cfg: cfg.withDefaults(), metrics: newMetrics()}
	if err := s.metrics.register(cfg.Metrics); err != nil {
		return nil, fmt.Errorf("checkpoint metrics: %w", err)
	}
	return s, nil
}

// Trouble says why there are no fresh copies; empty if there are.
func (s *Supervisor) Trouble() string {
	if t := s.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

// Pid is the child's; zero without one.
func (s *Supervisor) Pid() int { return int(s.pid.Load()) }

// How long a log may take to start over, once no child holds it.
const restartTime = 30 * time.Second

// Run keeps a child at work until ctx ends. Whatever happens to the child is
// no reason for the node to end.
func (s *Supervisor) Run(ctx context.Context) error {
	w := s.cfg.Store.Writer()
	pause := backoff.New(backoff.Config{Base: 250 * time.Millisecond, Max: 30 * time.Second}, w.Bits)
	for ctx.Err() == nil {
		start := time.Now()
		err := s.begin(w)
		if err == nil {
			err = s.child(ctx, w)
		}
		if ctx.Err() != nil {
			return nil
		}
		why := fmt.Sprintf("no checkpoints are made: %v", err)
		s.trouble.Store(&why)
		s.cfg.Logger.Warn("checkpoint child ended", "err", err, "after", time.Since(start).Round(time.Millisecond))
		s.metrics.ended.WithLabelValues(labelOf(err)).Inc()
		s.shrink(ctx)
		if time.Since(start) > time.Minute {
			pause = backoff.New(backoff.Config{Base: 250 * time.Millisecond, Max: 30 * time.Second}, w.Bits)
		}
		if backoff.Wait(ctx, pause.Next()) != nil {
			return nil
		}
	}
	return nil
}

// begin makes the directories of a start. What the child knew belongs to the
// chain of its start.
func (s *Supervisor) begin(w record.Writer) error {
	state := pathOf(s.cfg.State, w)
	if _, err := os.Stat(state); err != nil {
		if err := os.RemoveAll(s.cfg.State); err != nil {
			return err
		}
	}
	for _, dir := range []string{state, pathOf(s.cfg.Dir, w)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return prune(s.cfg.Dir, w.Node)
}

// Why a child was ended.
var (
	errSilent  = errors.New("the child was silent for too long")
	errLongLog = errors.New("the database's log has grown too long")
)

// child runs one child until it ends, or has to be ended.
func (s *Supervisor) child(ctx context.Context, w record.Writer) error {
	cmd := exec.Command(s.cfg.Command[0], s.cfg.Command[1:]...)
	cmd.Env = append(withoutBundle(os.Environ()), s.cfg.Env...)
	stderr := &tail{}
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.pid.Store(int64(cmd.Process.Pid))
	defer s.pid.Store(0)
	lines := make(chan Line)
	go listen(out, lines)
	err = json.NewEncoder(in).Encode(Order{Database: s.cfg.Database, Chain: pathOf(s.cfg.Dir, w), State: pathOf(s.cfg.State, w), Every: s.cfg.Every})
	if err == nil {
		err = s.watch(ctx, lines)
	}
	if ctx.Err() != nil {
		_ = in.Close() // it copies what is left, and ends
		t := time.AfterFunc(s.cfg.Silence, func() { _ = cmd.Process.Kill() })
		defer t.Stop()
	} else {
		_ = cmd.Process.Kill() // and its locks go with it
	}
	for range lines {
	}
	return errors.Join(err, ended(cmd.Wait(), stderr))
}

// listen passes on what a child says until it ends.
func listen(out io.Reader, lines chan<- Line) {
	defer close(lines)
	for in := bufio.NewScanner(out); in.Scan(); {
		var l Line
		if json.Unmarshal(in.Bytes(), &l) == nil {
			lines <- l
		}
	}
}

func (s *Supervisor) watch(ctx context.Context, lines <-chan Line) error {
	silence := time.NewTimer(s.cfg.Silence)
	defer silence.Stop()
	look := time.NewTicker(min(s.cfg.Silence/10, 250*time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case l, ok := <-lines:
			if !ok {
				return nil // it has ended: its exit says why
			}
			silence.Reset(s.cfg.Silence)
			s.trouble.Store(nil)
			s.metrics.copied.Set(float64(l.Copied))
			s.metrics.at.SetToCurrentTime()
		case <-silence.C:
			return errSilent
		case <-look.C:
			if n := s.cfg.Store.LogBytes(); n > s.cfg.MaxLog {
				return fmt.Errorf("%w: %d bytes, the limit is %d", errLongLog, n, s.cfg.MaxLog)
			}
		}
	}
}

// shrink makes a log that is too long start over, while no child holds it.
func (s *Supervisor) shrink(ctx context.Context) {
	if s.cfg.Store.LogBytes() <= s.cfg.MaxLog/2 {
		return
	}
	ctx, stop := context.WithTimeout(ctx, restartTime)
	defer stop()
	if err := s.cfg.Store.RestartLog(ctx); err != nil {
		s.cfg.Logger.Warn("log did not start over", "err", err)
	}
}

func ended(err error, stderr *tail) error {
	if text := strings.TrimSpace(string(stderr.b)); err != nil && text != "" {
		return fmt.Errorf("child: %w: %s", err, text)
	} else if err != nil {
		return fmt.Errorf("child: %w", err)
	}
	return nil
}

// tail keeps the end of what a child says on its standard error.
type tail struct{ b []byte }

const maxTail = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-maxTail):]
	return len(p), nil
}

// withoutBundle takes out a setting that ends Litestream's S3 client.
func withoutBundle(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "AWS_CA_BUNDLE=") {
			out = append(out, e)
		}
	}
	return out
}

// StateDir is where the child's own files lie beside a database.
func StateDir(database string) string {
	return filepath.Join(filepath.Dir(database), "."+filepath.Base(database)+"-checkpoint")
}

func labelOf(err error) string {
	switch {
	case errors.Is(err, errSilent):
		return "silent"
	case errors.Is(err, errLongLog):
		return "log"
	}
	return "ended"
}
