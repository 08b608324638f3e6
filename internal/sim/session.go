package sim

import (
	"fmt"
	"time"
)

// again is how much later a part of a session comes that was lost.
const again = 200 * time.Millisecond

// Session carries messages between two starts of hosts in order and whole, or
// breaks and carries nothing any more: as a connection over TCP does. What is
// lost comes later.
type Session struct {
	net      *Network
	from, to string
	a, b     *Life
	name     string
	broken   bool
	last     [2]time.Duration // when the last message comes, forth and back
}

// Session connects two starts. Each flow of two hosts has a stream of chance of
// its own.
func (n *Network) Session(from, to string, a, b *Life, flow Flow) *Session {
	return &Session{net: n, from: from, to: to, a: a, b: b, name: fmt.Sprintf("session %s-%s %s %s", from, to, flow.Subject, flow.Class)}
}

// Broken reports whether nothing passes any more: an end is over, or the link
// was cut.
func (s *Session) Broken() bool {
	s.broken = s.broken || s.a.over || s.b.over || s.net.IsCut(s.from, s.to) || s.net.IsCut(s.to, s.from)
	return s.broken
}

// Send puts a message on its way, to the end that was named first if back. It
// vanishes if the session breaks before it comes.
func (s *Session) Send(back bool, deliver func()) {
	w, weather := s.net.world, s.net.weather
	chance := w.Stream(s.name)
	at := w.now + weather.Delay
	if weather.Jitter > 0 {
		at += time.Duration(chance.Int64N(int64(weather.Jitter) + 1))
	}
	for weather.Loss > 0 && chance.Float64() < weather.Loss {
		at += again
	}
	i := 0
	if back {
		i = 1
	}
	s.last[i] = max(s.last[i], at)
	w.At(s.last[i], nil, func() {
		if !s.Broken() {
			deliver()
		}
	})
}
