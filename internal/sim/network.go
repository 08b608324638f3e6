package sim

import (
	"fmt"
	"time"
)

// Flow is what a frame belongs to: frames of one flow between two hosts keep
// their order, and each flow has a queue and a stream of chance of its own.
type Flow struct {
	Subject string // whose data it carries
	Class   string
}

// Fate is what became of a frame.
type Fate string

// The fates. Every frame that was sent comes to one of them, each copy of a
// repeated one too.
const (
	Delivered Fate = "delivered"
	Refused   Fate = "refused" // its queue was full, or nothing connects the two; the sender knows
	Lost      Fate = "lost"    // by chance
	Cut       Fate = "cut"     // the link was cut, which the sender does not know
	Down      Fate = "down"    // the receiver's start had ended before it came
	Repeated  Fate = "repeated"
)

// Weather is how links behave. The zero value is a perfect network.
type Weather struct {
	Loss      float64       // share of frames that vanish
	Duplicate float64       // share of frames that come twice
	Reorder   float64       // share of frames that may overtake and be overtaken
	Delay     time.Duration // of every frame
	Jitter    time.Duration // up to so much more
	Rate      int           // bytes a second of one flow; zero means no limit
}

// Network carries frames between hosts.
type Network struct {
	world   *World
	weather Weather
	queues  map[string]int // bytes that may wait in one flow, by class
	cut     map[pair]bool
	flows   map[flowKey]*flowState

	Fates    map[Fate]uint64
	Bytes    uint64 // sent and not refused
	inFlight uint64
	peaks    map[string]int // most bytes that ever waited in one flow, by class
}

type pair struct{ from, to string }

type flowKey struct {
	pair
	flow Flow
}

type flowState struct {
	waiting int           // bytes
	free    time.Duration // when the last frame has left
	last    time.Duration // when the last frame comes, if none overtakes
	name    string        // of its stream of chance
}

// NewNetwork returns the network of a world. Queues bound the bytes that wait
// in one flow, by class.
func NewNetwork(w *World, queues map[string]int) *Network {
	return &Network{
		world: w, queues: queues, cut: map[pair]bool{}, flows: map[flowKey]*flowState{}, Fates: map[Fate]uint64{}, peaks: map[string]int{},
	}
}

// SetWeather changes how all links behave from now on.
func (n *Network) SetWeather(w Weather) { n.weather = w }

// Cut stops frames from one host to another, silently; Join lets them pass.
func (n *Network) Cut(from, to string)  { n.cut[pair{from, to}] = true }
func (n *Network) Join(from, to string) { delete(n.cut, pair{from, to}) }

// JoinAll lets all frames pass.
func (n *Network) JoinAll() { clear(n.cut) }

// IsCut reports whether frames from one host to another vanish.
func (n *Network) IsCut(from, to string) bool { return n.cut[pair{from, to}] }

// Send puts a frame on its way to a life of a host. It reports false if the
// frame was refused: its queue is full.
func (n *Network) Send(from, to string, l *Life, flow Flow, size int, deliver func()) bool {
	s := n.state(from, to, flow)
	if s.waiting+size > n.queues[flow.Class] {
		n.Fates[Refused]++
		return false
	}
	n.Bytes += uint64(size)
	leaves := n.leave(s, flow.Class, size)
	chance := n.world.Stream(s.name)
	if n.cut[pair{from, to}] {
		n.Fates[Cut]++
		return true
	}
	if n.weather.Loss > 0 && chance.Float64() < n.weather.Loss {
		n.Fates[Lost]++
		return true
	}
	n.arrive(s, from, to, l, leaves, deliver)
	if n.weather.Duplicate > 0 && chance.Float64() < n.weather.Duplicate {
		n.Fates[Repeated]++
		n.arrive(s, from, to, l, leaves, deliver)
	}
	return true
}

// leave returns when a frame has left its queue.
func (n *Network) leave(s *flowState, class string, size int) time.Duration {
	s.free = max(s.free, n.world.now)
	if n.weather.Rate <= 0 {
		return s.free
	}
	s.free += time.Duration(size) * time.Second / time.Duration(n.weather.Rate)
	s.waiting += size
	n.peaks[class] = max(n.peaks[class], s.waiting)
	n.world.At(s.free, nil, func() { s.waiting -= size })
	return s.free
}

func (n *Network) arrive(s *flowState, from, to string, l *Life, leaves time.Duration, deliver func()) {
	chance := n.world.Stream(s.name)
	at := leaves + n.weather.Delay
	if n.weather.Jitter > 0 {
		at += time.Duration(chance.Int64N(int64(n.weather.Jitter) + 1))
	}
	if n.weather.Reorder <= 0 || chance.Float64() >= n.weather.Reorder {
		at = max(at, s.last)
		s.last = at
	}
	n.inFlight++
	n.world.At(at, nil, func() {
		n.inFlight--
		switch {
		case l.over:
			n.Fates[Down]++
		case n.cut[pair{from, to}]:
			n.Fates[Cut]++ // it was on its way when the link was cut
		default:
			n.Fates[Delivered]++
			deliver()
		}
	})
}

func (n *Network) state(from, to string, flow Flow) *flowState {
	k := flowKey{pair{from, to}, flow}
	s := n.flows[k]
	if s == nil {
		s = &flowState{name: fmt.Sprintf("link %s>%s %s %s", from, to, flow.Subject, flow.Class)}
		n.flows[k] = s
	}
	return s
}

// Peak returns the most bytes that ever waited in one flow of a class.
func (n *Network) Peak(class string) int { return n.peaks[class] }

// Unexplained returns how many of sent frames came to no fate. Sent counts the
// calls of Send.
func (n *Network) Unexplained(sent uint64) int64 {
	ends := n.Fates[Delivered] + n.Fates[Refused] + n.Fates[Lost] + n.Fates[Cut] + n.Fates[Down]
	return int64(sent+n.Fates[Repeated]) - int64(ends+n.inFlight)
}
