package sim

import "time"

// Server does one thing at a time, each in its own time: a disk, a processor.
type Server struct {
	world *World
	free  time.Duration
}

// NewServer returns an idle server of a world.
func NewServer(w *World) *Server { return &Server{world: w} }

// Do has something happen to a life once all that came before is done and cost
// has passed.
func (s *Server) Do(l *Life, cost time.Duration, do func()) {
	s.free = max(s.free, s.world.now) + cost
	s.world.At(s.free, l, do)
}
