package quic

import (
	"bufio"
	"context"
	"fmt"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// outflow is what waits to be sent to one peer in one flow. It is full at
// queueFrames or queueBytes; then new frames are dropped, and counted. Small
// frames share one stream, in order; each large one has a stream of its own.
type outflow struct {
	flow        mesh.Flow
	small, wide queue

	mu     sync.Mutex
	frames int // queued or being written
	bytes  int
}

// queue is a list of frames with a bell. The outflow's mutex guards frames.
type queue struct {
	frames [][]byte
	bell   chan struct{} // holds one token while there may be frames
}

// Send queues a frame; see mesh.Mesh. The frame must not be changed after.
func (m *Mesh) Send(to record.Node, f mesh.Flow, frame []byte) error {
	if err := checkFlow(f); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	if len(frame) > mesh.MaxFrame {
		return fmt.Errorf("send to %s: frame of %d bytes is over the limit of %d", to, len(frame), mesh.MaxFrame)
	}
	l := m.linkOf(to)
	if l == nil {
		m.metrics.dropped.WithLabelValues(f.Class.String(), "no_peer").Inc()
		return mesh.ErrNoPeer
	}
	o := m.outflow(l, f)
	if o == nil || !o.put(frame) {
		m.metrics.dropped.WithLabelValues(f.Class.String(), "full").Inc()
		return mesh.ErrFull
	}
	return nil
}

// outflow returns the queue of a flow, or nil if there are too many.
func (m *Mesh) outflow(l *link, f mesh.Flow) *outflow {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.out[f]
	if o != nil {
		return o
	}
	if len(l.out) >= 2*maxLanes || !l.alive() {
		return nil
	}
	o = &outflow{flow: f, small: queue{bell: make(chan struct{}, 1)}, wide: queue{bell: make(chan struct{}, 1)}}
	l.out[f] = o
	ctx := l.conn.Context()
	m.wg.Go(func() { m.writeFlow(ctx, l, o) })
	m.wg.Go(func() { m.writeWide(ctx, l, o) })
	return o
}

func (o *outflow) put(frame []byte) bool {
	q := &o.small
	if len(frame) > mesh.MaxInline {
		q = &o.wide
	}
	o.mu.Lock()
	fits := o.frames < queueFrames && o.bytes+len(frame) <= queueBytes
	if fits {
		q.frames = append(q.frames, frame)
		o.frames++
		o.bytes += len(frame)
	}
	o.mu.Unlock()
	if fits {
		select {
		case q.bell <- struct{}{}:
		default:
		}
	}
	return fits
}

// take waits for frames and takes them all; nil when ctx ends.
func (o *outflow) take(ctx context.Context, q *queue) [][]byte {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.bell:
		}
		o.mu.Lock()
		frames := q.frames
		q.frames = nil
		o.mu.Unlock()
		if len(frames) > 0 {
			return frames
		}
	}
}

// wrote makes room for the next.
func (o *outflow) wrote(m *Mesh, frame []byte) {
	n := len(frame)
	o.mu.Lock()
	o.frames--
	o.bytes -= n
	o.mu.Unlock()
	m.metrics.framesOut.WithLabelValues(o.flow.Class.String()).Inc()
	m.metrics.bytesOut.WithLabelValues(o.flow.Class.String()).Add(float64(n))
	if m.cfg.Wrote != nil {
		m.cfg.Wrote(o.flow, frame)
	}
}

// writeFlow writes the small frames of a flow to its stream, and flushes when
// there are no more.
func (m *Mesh) writeFlow(ctx context.Context, l *link, o *outflow) {
	defer m.abandon(ctx, o, &o.small)
	frames := o.take(ctx, &o.small)
	if frames == nil {
		return
	}
	s, err := l.conn.OpenUniStreamSync(ctx)
	if err != nil {
		return
	}
	w := bufio.NewWriterSize(s, 32<<10) // about a congestion window on a LAN
	if _, err := w.Write(appendPreface(nil, kindFlow, o.flow)); err != nil {
		return
	}
	var head []byte
	for ; frames != nil; frames = o.take(ctx, &o.small) {
		for _, frame := range frames {
			head = appendLength(head[:0], len(frame))
			if _, err := w.Write(head); err != nil {
				return
			}
			if _, err := w.Write(frame); err != nil {
				return
			}
			o.wrote(m, frame)
		}
		if err := w.Flush(); err != nil {
			return
		}
	}
}

// writeWide writes the large frames of a flow, one after the other.
func (m *Mesh) writeWide(ctx context.Context, l *link, o *outflow) {
	defer m.abandon(ctx, o, &o.wide)
	for frames := o.take(ctx, &o.wide); frames != nil; frames = o.take(ctx, &o.wide) {
		for _, frame := range frames {
			s, err := l.conn.OpenUniStreamSync(ctx)
			if err != nil {
				return
			}
			head := appendLength(appendPreface(nil, kindSingle, o.flow), len(frame))
			if _, err := s.Write(head); err != nil {
				return
			}
			if _, err := s.Write(frame); err != nil {
				return
			}
			if err := s.Close(); err != nil {
				return
			}
			o.wrote(m, frame)
		}
	}
}

// abandon drops and counts what is left and what still comes, until the
// connection ends. While it lives, that is a flow which the peer does not take:
// a class of a later version.
func (m *Mesh) abandon(ctx context.Context, o *outflow, q *queue) {
	drop := func(frames [][]byte) {
		o.mu.Lock()
		for _, frame := range frames {
			o.frames--
			o.bytes -= len(frame)
		}
		o.mu.Unlock()
		m.metrics.dropped.WithLabelValues(o.flow.Class.String(), "closed").Add(float64(len(frames)))
	}
	for frames := o.take(ctx, q); frames != nil; frames = o.take(ctx, q) {
		drop(frames)
	}
	o.mu.Lock()
	left := q.frames
	q.frames = nil
	o.mu.Unlock()
	drop(left)
}
