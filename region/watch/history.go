package watch

import (
	"context"
	"errors"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

var (
	errKey = errors.New("the key is not one of a machine")
	errOld = errors.New("too much has changed since that position: a snapshot is shorter")
)

// mark is one change of the past, as far as resuming needs it.
type mark struct {
	seq    uint64
	table  string
	key    record.Key
	before fleet.App // fleet_machines: the app of the row before, if known
	known  bool      // before is known; it is empty if there was no row
}

// maxHistory bounds the changes that a resume goes through.
const maxHistory = 16 << 10

// history holds the latest changes: all of those after from.
type history struct {
	from  uint64
	marks []mark
}

// add appends a change; the oldest quarter goes when it is full.
func (h *history) add(m mark) {
	if len(h.marks) >= maxHistory {
		cut := maxHistory / 4
		// A changeset goes whole, or its rest would look like all of it.
		for cut < len(h.marks) && h.marks[cut].seq == h.marks[cut-1].seq {
			cut++
		}
		h.from = h.marks[cut-1].seq
		h.marks = slices.Clone(h.marks[cut:])
	}
	h.marks = append(h.marks, m)
}

// since returns the changes after seq, or false if not all are here.
func (h *history) since(seq uint64) ([]mark, bool) {
	if seq < h.from {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(h.marks, seq+1, func(m mark, s uint64) int {
		switch {
		case m.seq < s:
			return -1
		case m.seq > s:
			return 1
		}
		return 0
	})
	return h.marks[i:], true
}

// reach extends the history back to p, from disk if it must be, or says why a
// client at p needs a snapshot.
func (h *Hub) reach(ctx context.Context, p store.Position) error {
	feed, err := h.cfg.Store.Feed(p) // on this store's line, and still kept?
	if err != nil {
		return err
	}
	defer feed.Close()
	select {
	case h.extend <- struct{}{}:
		defer func() { <-h.extend }()
	case <-ctx.Done():
		return ctx.Err()
	}
	h.mu.Lock()
	from := h.history.from
	h.mu.Unlock()
	if p.Sequence >= from {
		return nil
	}
	var older []mark
	for done := false; !done; {
		entries, err := feed.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if done = e.Position.Sequence >= from; e.Position.Sequence > from {
				break
			}
			older = append(older, marksOf(e)...)
		}
		if len(older) > maxHistory {
			return errOld
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.history.from == from {
		h.history = history{from: p.Sequence, marks: slices.Concat(older, h.history.marks)}
	}
	return nil
}

// marksOf are the marks of an entry that was read from disk, which does not
// always know what was there before.
func marksOf(e store.Entry) []mark {
	var out []mark
	for _, c := range e.Changes {
		out = append(out, mark{seq: e.Position.Sequence, table: c.Table, key: c.Key})
	}
	return out
}
