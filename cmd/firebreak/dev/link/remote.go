package link

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// Between this process and that of a node go lines of JSON: here a numbered
// state at the start and at every change, there its number once it holds.
type message struct {
	Number uint64 `json:"number"`
	State  State  `json:"state"`
}

// answerWithin bounds the wait for processes that do not answer: one that is
// stopped passes nothing on, and goes by the new state before anything else
// once it is let go on.
const answerWithin = 2 * time.Second

// remote is a node in a process of its own. Its fields are guarded by the mu
// of its Links.
type remote struct{ waiting []wait }

type wait struct {
	number uint64
	done   chan struct{}
}

// await returns a channel that is closed when the state of that number holds,
// or the process is gone. Called with the links' mu held.
func (r *remote) await(number uint64) <-chan struct{} {
	w := wait{number, make(chan struct{})}
	r.waiting = append(r.waiting, w)
	return w.done
}

func await(ctx context.Context, waiting []<-chan struct{}) error {
	limit := time.NewTimer(answerWithin)
	defer limit.Stop()
	for _, done := range waiting {
		select {
		case <-done:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("tell the nodes of their links: %w", ctx.Err())
		}
	}
	return nil
}

// Serve tells the process of a node what its links are like, over conn, which
// it closes. It returns when ctx ends or the process has gone.
func (l *Links) Serve(ctx context.Context, n Node, conn net.Conn) {
	r := &remote{}
	l.mu.Lock()
	l.remotes[r] = true
	l.mu.Unlock()
	defer l.leave(r)
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	out, in := json.NewEncoder(conn), json.NewDecoder(conn)
	for {
		l.mu.Lock()
		m, changed := message{l.number, l.state(n)}, l.changed
		l.mu.Unlock()
		if out.Encode(m) != nil {
			return
		}
		var number uint64
		if in.Decode(&number) != nil {
			return
		}
		l.answered(r, number)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (l *Links) answered(r *remote, number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var still []wait
	for _, w := range r.waiting {
		if w.number <= number {
			close(w.done)
		} else {
			still = append(still, w)
		}
	}
	r.waiting = still
}

// leave forgets a process that has gone: nobody waits for it.
func (l *Links) leave(r *remote) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.remotes, r)
	for _, w := range r.waiting {
		close(w.done)
	}
	r.waiting = nil
}

// Follower keeps the port of this process as the process at the other end of
// a connection says.
type Follower struct {
	*Port
	conn net.Conn
	in   *json.Decoder
	out  *json.Encoder
}

// Join waits for the first word of Serve, whose other end conn is. The port
// is then good, and stays so while Run runs.
func Join(ctx context.Context, conn net.Conn) (*Follower, error) {
	f := &Follower{conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := f.next(); err != nil {
		return nil, fmt.Errorf("hear of the links of this node: %w", err)
	}
	return f, nil
}

func (f *Follower) next() error {
	var m message
	if err := f.in.Decode(&m); err != nil {
		return err
	}
	if f.Port == nil {
		f.Port = newPort(m.State)
	} else {
		f.routes.set(m.State)
	}
	return f.out.Encode(m.Number)
}

// Run goes by what it is told, until ctx ends. If the other end goes away, the
// links stay as they are.
func (f *Follower) Run(ctx context.Context) error {
	defer f.conn.Close()
	defer context.AfterFunc(ctx, func() { f.conn.Close() })()
	for f.next() == nil {
	}
	<-ctx.Done()
	return nil
}
