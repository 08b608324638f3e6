package region

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/clock"
)

const (
	clockTag byte = 0x03            // first byte of the question for a node's time
	clockAsk      = 2 * time.Second // for the answers
	maxTime       = 1 << 48         // Unix milliseconds
)

// newClock watches the node's clock. It comes before the store, whose writer
// asks it, and looks at the store and the mesh only when it runs.
func newClock(n *Node) *clock.Watch {
	return clock.New(clock.Config{
		Now: n.cfg.Now, Ask: n.askTimes,
		Last:   func() hlc.Timestamp { return n.db.LastStamp() },
		Reset:  func(ctx context.Context) (store.ClockReset, error) { return n.db.ResetClock(ctx) },
		Logger: n.log, Metrics: n.cfg.Registry,
	})
}

// askTimes returns what the clocks of the peers that answer show.
func (n *Node) askTimes(ctx context.Context) []hlc.Reading {
	if n.control.FreezeEgress() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, clockAsk)
	defer cancel()
	var (
		mu  sync.Mutex
		out []hlc.Reading
		all sync.WaitGroup
	)
	for _, p := range n.mesh.Peers() {
		if !alive(p) {
			continue
		}
		all.Go(func() {
			if r, err := n.askTime(ctx, p.Node); err == nil {
				mu.Lock()
				out = append(out, r)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return out
}

func (n *Node) askTime(ctx context.Context, peer record.Node) (hlc.Reading, error) {
	asked := time.Now()
	b, err := n.mesh.Ask(ctx, peer, []byte{clockTag})
	took, arrived := time.Since(asked), n.cfg.Now()
	if err != nil {
		return hlc.Reading{}, err
	}
	theirs, err := readTime(b)
	return hlc.ReadingOf(theirs, arrived, took), err
}

// answerTime tells a peer this node's time.
func (n *Node) answerTime() ([]byte, error) {
	if n.control.FreezeEgress() {
		return nil, errors.New("egress is frozen")
	}
	return binary.BigEndian.AppendUint64(nil, uint64(max(0, n.cfg.Now().UnixMilli()))), nil
}

// readTime reads what answerTime wrote; what follows is a later program's.
func readTime(b []byte) (time.Time, error) {
	if len(b) < 8 {
		return time.Time{}, fmt.Errorf("time of %d bytes", len(b))
	}
	ms := binary.BigEndian.Uint64(b)
	if ms >= maxTime {
		return time.Time{}, errors.New("time out of range")
	}
	return time.UnixMilli(int64(ms)), nil
}
