package runner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Answers answers what peers want from snapshots of a store. A listing is read
// from one snapshot, which stays open between its pages. Not safe for
// concurrent use.
type Answers struct {
	open    func(context.Context) (store.Snapshot, error)
	listers map[record.Node]*openListing
}

// openListing is a listing between two pages.
type openListing struct {
	id     uint64
	page   int // the next one
	used   time.Time
	snap   store.Snapshot
	lister *Lister
}

const (
	maxListings = 4                // open at one time; others wait
	listingIdle = 15 * time.Second // after it a listing ends: longer than anybody waits for a page
)

// NewAnswers answers from snapshots that open opens.
func NewAnswers(open func(context.Context) (store.Snapshot, error)) *Answers {
	return &Answers{open: open, listers: map[record.Node]*openListing{}}
}

// Serve returns the frames that answer s, in order. If there is
// nothing to be had it says so; to what was asked twice it returns none.
func (a *Answers) Serve(ctx context.Context, s replica.Serve, now time.Time) (frames [][]byte, err error) {
	defer func() {
		if frames == nil {
			frames = replica.NewAnswer(s).Frames() // nothing is to be had
		}
	}()
	if s.Page > 0 {
		return a.next(s, now)
	}
	if l := a.listers[s.To]; l != nil && l.id == s.ID {
		return [][]byte{}, nil // asked twice: a second listing must not go on where the first has begun
	}
	a.end(s.To)
	if a.Expire(now); len(a.listers) >= maxListings {
		return nil, nil // its turn will come
	}
	snap, err := a.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	keep := false
	defer func() {
		if !keep {
			_ = snap.Close()
		}
	}()
	ws, err := snap.Writers()
	if err != nil {
		return nil, fmt.Errorf("read received sets: %w", err)
	}
	mode, plan := planOf(ws, s)
	if len(plan.Ranges) > 0 || len(plan.Scopes) == 0 {
		return ranges(snap, s, plan.Ranges)
	}
	l, err := NewLister(snap, mode, plan)
	if err != nil {
		return nil, err
	}
	a.listers[s.To] = &openListing{id: s.ID, used: now, snap: snap, lister: l}
	keep = true
	return a.next(s, now)
}

// planOf plans the answer to s.
func planOf(ws []store.WriterState, s replica.Serve) (store.Mode, Plan) {
	switch nodes := s.Listing.Nodes; {
	case s.Listing.Mode == replica.Exchange, s.Listing.Mode == replica.Repair && len(nodes) == 0:
		return store.Mode(s.Listing.Mode), Plan{Scopes: []store.Scope{{Kind: record.Shared}, {Kind: record.Ranked}}}
	case s.Listing.Mode == replica.Repair:
		p := Plan{}
		for _, n := range nodes {
			p.Scopes = append(p.Scopes, store.Scope{Kind: record.Owned, Node: n})
		}
		return store.Repair, p
	default:
		return store.CatchUp, NewPlan(ws, s.Wants, nodes)
	}
}

// next reads the next page of the listing that s is about.
func (a *Answers) next(s replica.Serve, now time.Time) ([][]byte, error) {
	l := a.listers[s.To]
	if l != nil && l.id == s.ID && s.Page < l.page {
		return [][]byte{}, nil // asked twice
	}
	if l == nil || l.id != s.ID || l.page != s.Page {
		return nil, nil
	}
	p, err := l.lister.Page(replica.PageSize)
	if err != nil {
		a.end(s.To)
		return nil, err
	}
	frame := replica.NewPage(s.ID, s.Page, PageOf(p))
	if p.End != nil {
		a.end(s.To)
	}
	if len(frame) > replica.MaxFrame {
		a.end(s.To)
		return nil, fmt.Errorf("page of a listing: %d bytes are over the cap of a frame", len(frame))
	}
	l.page, l.used = l.page+1, now
	return [][]byte{frame}, nil
}

func (a *Answers) end(n record.Node) {
	if l := a.listers[n]; l != nil {
		_ = l.snap.Close()
		delete(a.listers, n)
	}
}

// Expire ends listings that nobody asks on for.
func (a *Answers) Expire(now time.Time) {
	for n, l := range a.listers {
		if now.Sub(l.used) > listingIdle {
			a.end(n)
		}
	}
}

// Close ends all listings.
func (a *Answers) Close() {
	for n := range a.listers {
		a.end(n)
	}
}

// ranges answers ranges, newest versions first, up to the limit of s.
func ranges(snap store.Snapshot, s replica.Serve, wants []replica.Want) ([][]byte, error) {
	a := replica.NewAnswer(s)
	for _, w := range wants {
		for _, g := range w.Ranges {
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
