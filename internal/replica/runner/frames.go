package runner

import (
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Frames returns the frames that answer s from a snapshot, newest versions
// first, up to its limit.
func Frames(snap store.Snapshot, s replica.Serve) ([][]byte, error) {
	ws, err := snap.Writers()
	if err != nil {
		return nil, fmt.Errorf("read received sets: %w", err)
	}
	heads := make(map[record.Writer]record.Version, len(ws))
	for _, w := range ws {
		heads[w.Writer] = w.Received.Head
	}
	a := replica.NewAnswer(s)
	for _, w := range s.Wants {
		for _, g := range w.Ranges {
			g.To = min(g.To, heads[w.Writer])
			if err := addRange(a, snap, w.Writer, g); err != nil {
				return nil, fmt.Errorf("read versions of %v: %w", w.Writer, err)
			}
		}
	}
	return a.Frames(), nil
}

// addRange adds g to a from its top, in the largest parts that fit: all of it,
// mostly.
func addRange(a *replica.Answer, snap store.Snapshot, w record.Writer, g record.Range) error {
	size := g.Len()
	for g.From <= g.To && a.Room() > 0 {
		size = min(size, g.Len())
		part := record.Range{From: g.To - record.Version(size-1), To: g.To}
		ds, fits, err := collect(snap, w, part, a.Room())
		if err != nil {
			return err
		}
		if !fits && size > 1 {
			size = (size + 1) / 2
			continue
		}
		for _, d := range slices.Backward(ds) {
			a.Add(d)
		}
		g.To = part.From - 1
	}
	return nil
}

// collect reads the deliveries of g, and reports whether they fit into room.
func collect(snap store.Snapshot, w record.Writer, g record.Range, room int) (out []record.Delivery, fits bool, err error) {
	for g.From <= g.To {
		ds, err := snap.Deliver(w, g, replica.MaxInline)
		if err != nil || len(ds) == 0 {
			return out, true, err
		}
		for _, d := range ds {
			out = append(out, d)
			room -= replica.Size(d)
		}
		if room < 0 {
			return out, false, nil
		}
		g.From = ds[len(ds)-1].Range.To + 1
	}
	return out, true, nil
}
