// Package ctl passes commands from another terminal to a running dev, over a
// unix socket in its data directory. A request is a line of JSON, a list of
// words; the answer is a line of JSON for each thing that is said, the last of
// which says how it ended.
package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Name is the socket's name in the data directory. Only its owner may use it.
const Name = "ctl"

// maxRequest bounds a request.
const maxRequest = 64 << 10

// answer is a line from dev.
type answer struct {
	Say   string `json:"say,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"` // with Done: why it failed
}

// Server takes commands.
type Server struct {
	do  func(ctx context.Context, words []string, say func(string)) error
	lis *net.UnixListener
	dir *os.File
}

// Listen opens the socket in dir, in the place of one that a dev that was
// killed has left. The caller holds the directory. Commands wait until Run
// runs, which closes the socket; Close closes one that is not run.
func Listen(dir string, do func(ctx context.Context, words []string, say func(string)) error) (*Server, error) {
	d, path, err := short(dir)
	if err != nil {
		return nil, fmt.Errorf("socket of dev ctl: %w", err)
	}
	if err = os.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
		var lis *net.UnixListener
		if lis, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err == nil {
			if err = os.Chmod(path, 0o600); err == nil {
				return &Server{do, lis, d}, nil
			}
			err = errors.Join(err, lis.Close())
		}
	}
	return nil, errors.Join(fmt.Errorf("socket of dev ctl: %w", err), d.Close())
}

// short opens dir and returns a path of the socket that is short enough for
// one, however long that of dir is.
func short(dir string) (*os.File, string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, "", err
	}
	return d, filepath.Join(fmt.Sprintf("/proc/self/fd/%d", d.Fd()), Name), nil
}

// Close removes the socket. A second Close does nothing.
func (s *Server) Close() {
	s.lis.Close()
	s.dir.Close() // opened for its path alone
}

// Run serves until ctx ends, and removes the socket.
func (s *Server) Run(ctx context.Context) error {
	var calls sync.WaitGroup
	defer s.Close()
	defer calls.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(ctx, func() { s.lis.Close() })()
	defer s.lis.Close()
	for {
		conn, err := s.lis.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("socket of dev ctl: %w", err)
		}
		calls.Go(func() { s.serve(ctx, conn) })
	}
}

// serve answers one request. The client's going away ends the command's wait,
// as Ctrl-C does.
func (s *Server) serve(ctx context.Context, conn *net.UnixConn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	in := bufio.NewScanner(conn)
	in.Buffer(nil, maxRequest)
	var words []string
	if !in.Scan() {
		return
	}
	var mu sync.Mutex
	out := json.NewEncoder(conn)
	tell := func(a answer) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(a) // a client that is gone reads nothing
	}
	if err := json.Unmarshal(in.Bytes(), &words); err != nil {
		tell(answer{Done: true, Error: fmt.Sprintf("request: %v", err)})
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		in.Scan() // nothing more is sent: it returns when the client is gone
		cancel()
	}()
	last := answer{Done: true}
	if err := s.do(ctx, words, func(line string) { tell(answer{Say: line}) }); err != nil {
		last.Error = err.Error()
	}
	tell(last)
	cancel()
	<-gone
}

// ErrNone means that no dev runs on the directory.
var ErrNone = errors.New("no dev runs there")

// errCut means that dev went away before it was done.
var errCut = errors.New("dev ended before the command was done")

// Call has the dev of a directory carry out a command and calls say with what
// it says meanwhile.
func Call(ctx context.Context, dir string, words []string, say func(string)) error {
	d, path, err := short(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, ErrNone)
	}
	if err != nil {
		return err
	}
	defer d.Close() // opened for its path alone
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, ErrNone)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(words); err != nil {
		return fmt.Errorf("send the command: %w", err)
	}
	in := json.NewDecoder(conn)
	for {
		var a answer
		if err := in.Decode(&a); err != nil {
			return errors.Join(ctx.Err(), errCut)
		}
		switch {
		case a.Error != "":
			return errors.New(a.Error)
		case a.Done:
			return nil
		}
		say(a.Say)
	}
}
