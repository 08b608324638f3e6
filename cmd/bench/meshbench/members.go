package meshbench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/load"
)

// rowBytes is a machine's row as others would broadcast it.
const rowBytes = 194

// members is a memberlist cluster with its defaults for a LAN, whose nodes
// broadcast messages of a row's size.
type members struct {
	nodes []*member

	left atomic.Int64 // times that one took another for dead
	came atomic.Int64 // messages that came, known or not

	mu     sync.Mutex // guards what follows
	flight map[uint64]*flight
	landed []landing
	next   uint64
}

// member is one of its nodes, and memberlist's delegate.
type member struct {
	all   *members
	list  *memberlist.Memberlist
	queue *memberlist.TransmitLimitedQueue

	mu   sync.Mutex // guards seen
	seen map[uint64]bool
}

func newMembers(n int) (_ *members, err error) {
	m := &members{flight: map[uint64]*flight{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	for i := range n {
		x := &member{all: m, seen: map[uint64]bool{}}
		x.queue = &memberlist.TransmitLimitedQueue{NumNodes: func() int { return n }, RetransmitMult: 4}
		cfg := memberlist.DefaultLANConfig()
		cfg.Name = fmt.Sprintf("m%d", i)
		cfg.BindAddr, cfg.BindPort, cfg.AdvertisePort = "127.0.0.1", 0, 0
		cfg.Delegate, cfg.Events = x, departures{&m.left}
		cfg.Logger = log.New(io.Discard, "", 0)
		if x.list, err = memberlist.Create(cfg); err != nil {
			return nil, fmt.Errorf("memberlist: %w", err)
		}
		m.nodes = append(m.nodes, x)
		if i > 0 {
			if _, err := x.list.Join([]string{m.nodes[0].list.LocalNode().Address()}); err != nil {
				return nil, fmt.Errorf("memberlist: %w", err)
			}
		}
	}
	return m, world.Await(context.Background(), "memberlist's nodes to meet", func() error {
		for _, x := range m.nodes {
			if k := x.list.NumMembers(); k < n {
				return fmt.Errorf("one knows %d of %d", k, n)
			}
		}
		return nil
	})
}

func (m *members) close() error {
	var errs []error
	for _, x := range m.nodes {
		errs = append(errs, x.list.Shutdown())
	}
	return errors.Join(errs...)
}

// departures counts who is taken for dead. Nobody leaves while it counts.
type departures struct{ n *atomic.Int64 }

// NotifyLeave is part of memberlist's event delegate, as are the next two.
func (d departures) NotifyLeave(*memberlist.Node) { d.n.Add(1) }

// NotifyJoin counts nothing.
func (departures) NotifyJoin(*memberlist.Node) {}

// NotifyUpdate counts nothing.
func (departures) NotifyUpdate(*memberlist.Node) {}

// NodeMeta is part of memberlist's delegate, as are the next four.
func (x *member) NodeMeta(int) []byte { return nil }

// LocalState tells nothing: broadcasts are measured, not anti-entropy.
func (x *member) LocalState(bool) []byte { return nil }

// MergeRemoteState takes nothing.
func (x *member) MergeRemoteState([]byte, bool) {}

// GetBroadcasts hands out what waits.
func (x *member) GetBroadcasts(overhead, limit int) [][]byte {
	return x.queue.GetBroadcasts(overhead, limit)
}

// NotifyMsg takes one message and passes it on, once.
func (x *member) NotifyMsg(b []byte) {
	if len(b) != rowBytes {
		return
	}
	x.all.came.Add(1)
	id := binary.BigEndian.Uint64(b)
	x.mu.Lock()
	known := x.seen[id]
	x.seen[id] = true
	x.mu.Unlock()
	if known {
		return
	}
	x.all.arrived(id, time.Now())
	x.queue.QueueBroadcast(message(append([]byte(nil), b...)))
}

// message is one broadcast; none replaces another.
type message []byte

// Invalidates implements memberlist.Broadcast.
func (message) Invalidates(memberlist.Broadcast) bool { return false }

// Message implements memberlist.Broadcast.
func (m message) Message() []byte { return m }

// Finished implements memberlist.Broadcast.
func (message) Finished() {}

func (m *members) arrived(id uint64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.flight[id]
	if f == nil {
		return
	}
	took := now.Sub(f.from)
	f.left--
	f.last = max(f.last, took)
	m.landed = append(m.landed, landing{took: took})
	if f.left == 0 {
		delete(m.flight, id)
		m.landed = append(m.landed, landing{took: f.last, last: true})
	}
}

// send broadcasts one message from a node.
func (m *members) send(i int, due time.Time) {
	b := make([]byte, rowBytes)
	m.mu.Lock()
	m.next++
	id := m.next
	m.flight[id] = &flight{from: due, left: len(m.nodes) - 1}
	m.mu.Unlock()
	binary.BigEndian.PutUint64(b, id)
	x := m.nodes[i]
	x.mu.Lock()
	x.seen[id] = true
	x.mu.Unlock()
	x.queue.QueueBroadcast(message(b))
}

// fewer is the part of a block's rows that memberlist broadcasts: at the same
// rate, but for a shorter time, for it then has to be waited for. It is so much
// slower that a part is enough, and a shorter queue is in its favour.
const fewer = 4

// block broadcasts at the rate.
func (m *members) block(ctx context.Context, ops int) (bench.Values, error) {
	return m.offer(ctx, rate, max(1, ops/fewer))
}

// offer broadcasts so many rows. A broadcast that does not come everywhere is
// no error here: it promises nothing, and the figure is of what came.
func (m *members) offer(ctx context.Context, rate float64, ops int) (bench.Values, error) {
	came := m.came.Load()
	_, err := load.Run(ctx, load.Config{Rate: rate, Count: uint64(ops)}, func(_ context.Context, i uint64, due time.Time) error {
		m.send(int(i)%len(m.nodes), due)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var landed []landing
	lost := 0
	err = world.Await(ctx, "broadcasts to come", func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, f := range m.flight {
			if time.Since(f.from) < patience {
				return errors.New("some are on their way")
			}
		}
		for id, f := range m.flight {
			lost += f.left
			m.landed = append(m.landed, landing{took: patience, last: true})
			for range f.left {
				m.landed = append(m.landed, landing{took: patience})
			}
			delete(m.flight, id)
		}
		landed, m.landed = m.landed, nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	v, err := values(landed, ops, len(m.nodes))
	if err == nil {
		landings := float64(ops * (len(m.nodes) - 1))
		v["lost"] = float64(lost)
		v["copies"] = float64(m.came.Load()-came) / landings
		v["bytes"] = v["copies"] * rowBytes
	}
	return v, err
}

// patience is how long a broadcast is waited for; what has not come by then is
// counted as having taken so long.
const patience = 1500 * time.Millisecond
