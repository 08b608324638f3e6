package global

import "sync"

// bell wakes one reader. It is of size 1: a reader that is awake needs no
// second ring, and ringing never waits.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// bells are those that ring when something changed. Safe for concurrent use.
type bells struct {
	mu  sync.Mutex // guards all
	all map[bell]struct{}
}

func newBells() *bells { return &bells{all: map[bell]struct{}{}} }

func (s *bells) add(b bell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[b] = struct{}{}
}

func (s *bells) remove(b bell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, b)
}

func (s *bells) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for b := range s.all {
		b.ring()
	}
}
