package link

import (
	"net"
	"sync"
	"time"
)

const (
	maxHeld    = 1 << 20                // bytes that a connection takes before a Write waits
	retransmit = 200 * time.Millisecond // what a lost segment costs
)

// stream is one end of a TCP connection. What is written is held until it is
// due; whoever writes too much waits.
type stream struct {
	net.Conn
	port *Port
	to   string // the address by which the other end is known

	mu      sync.Mutex
	held    []chunk
	size    int
	pumping bool
	err     error // of the pump
	room    chan struct{}
	closed  chan struct{}
	once    sync.Once
}

type chunk struct {
	b   []byte
	due time.Time
}

func newStream(conn net.Conn, p *Port, to string) *stream {
	return &stream{Conn: conn, port: p, to: to, room: make(chan struct{}), closed: make(chan struct{})}
}

func (s *stream) Close() error {
	s.once.Do(func() { close(s.closed) })
	s.port.drop(s)
	return s.Conn.Close()
}

// Write sends b, or holds it if the link is not perfect.
func (s *stream) Write(b []byte) (int, error) {
	for {
		s.mu.Lock()
		switch {
		case s.err != nil:
			s.mu.Unlock()
			return 0, s.err
		case len(s.held) == 0 && !s.pumping && s.direct():
			s.mu.Unlock()
			return s.Conn.Write(b)
		case s.size < maxHeld:
			s.hold(b)
			s.mu.Unlock()
			return len(b), nil
		}
		room := s.room
		s.mu.Unlock()
		select {
		case <-room:
		case <-s.closed:
			return 0, net.ErrClosed
		}
	}
}

func (s *stream) direct() bool {
	if s.port.routes.perfect.Load() {
		return true
	}
	q, _, _, found := s.port.routes.find(s.to)
	return !found || q == Quality{}
}

// hold queues b. Called with mu held; the locks of the links are leaves.
func (s *stream) hold(b []byte) {
	q, chance, _, found := s.port.routes.find(s.to)
	due := time.Now().Add(q.Delay)
	if found && chance.hit(q.Loss) {
		due = due.Add(retransmit)
	}
	s.held = append(s.held, chunk{append([]byte(nil), b...), due})
	s.size += len(b)
	if !s.pumping {
		s.pumping = true
		go s.pump()
	}
}

// pump sends what is held, each when it is due and there is no cut, and ends
// when nothing is left or the connection is closed.
func (s *stream) pump() {
	for {
		s.mu.Lock()
		if len(s.held) == 0 || s.err != nil {
			s.pumping = false
			s.mu.Unlock()
			return
		}
		c := s.held[0]
		s.mu.Unlock()
		err := s.wait(c.due)
		if err == nil {
			_, err = s.Conn.Write(c.b)
		}
		s.mu.Lock()
		s.held, s.size, s.err = s.held[1:], s.size-len(c.b), err
		close(s.room)
		s.room = make(chan struct{})
		s.mu.Unlock()
	}
}

func (s *stream) wait(due time.Time) error {
	t := time.NewTimer(time.Until(due))
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closed:
		return net.ErrClosed
	}
	for {
		q, _, changed, found := s.port.routes.find(s.to)
		if !found || !q.Cut {
			return nil
		}
		select {
		case <-changed:
		case <-s.closed:
			return net.ErrClosed
		}
	}
}
