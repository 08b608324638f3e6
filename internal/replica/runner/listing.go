package runner

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// Plan divides what a peer wants of a snapshot into what ranges answer and
// what takes a listing: every version at or below a floor, whether the peer
// lacks it below its head or as its head, and every node of which the peer's
// complete boot is to be raised.
type Plan struct {
	Ranges []replica.Want // newest first, above every floor, to be answered first
	Scopes []store.Scope  // in order; empty if no listing is needed
	Takes  []record.Closed
}

// NewPlan plans the answer to wants, newest first, and to cover, from the
// states of a snapshot. Once a part of a node's versions takes a listing, so
// do all that are older: a record that the listing's have overtaken is in no
// range, and must not be missing before they came.
func NewPlan(ws []store.WriterState, wants []replica.Want, cover []record.Node) Plan {
	p := Plan{}
	listed := map[record.Node]bool{}
	for _, want := range wants {
		i, ok := slices.BinarySearchFunc(ws, want.Writer, func(s store.WriterState, w record.Writer) int { return s.Writer.Compare(w) })
		if n := want.Writer.Node; ok && p.add(ws[i], want.Ranges, listed[n]) {
			listed[n] = true
		}
	}
	slices.Sort(cover)
	for _, n := range slices.Compact(cover) {
		for _, k := range record.Kinds {
			p.Scopes = append(p.Scopes, store.ScopeOf(record.Writer{Node: n}, k))
		}
		for _, s := range ws {
			if s.Writer.Node == n && s.Received.Head > 0 {
				p.Takes = append(p.Takes, record.Closed{Writer: s.Writer, Received: s.Received})
			}
		}
	}
	slices.SortFunc(p.Scopes, func(a, b store.Scope) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Node, b.Node)) })
	p.Scopes = slices.Compact(p.Scopes)
	return p
}

// add takes the wanted ranges of one writer, newest first, and reports whether
// some take a listing. If listed they all do.
func (p *Plan) add(s store.WriterState, ranges []record.Range, listed bool) bool {
	above := replica.Want{Writer: s.Writer}
	below := record.Received{}
	floor := slices.Max(s.Floors[:])
	if listed {
		floor = s.Received.Head
	}
	for _, g := range ranges {
		g.To = min(g.To, s.Received.Head)
		if hi := (record.Range{From: max(g.From, floor+1), To: g.To}); hi.From <= hi.To {
			above.Ranges = append(above.Ranges, hi)
		}
		lo := record.Range{From: g.From, To: min(g.To, floor)}
		if lo.Len() == 0 {
			continue
		}
		have := s.Received.Ranges()
		for _, h := range have {
			if part := (record.Range{From: max(h.From, lo.From), To: min(h.To, lo.To)}); part.Len() > 0 {
				below = below.With(part)
			}
		}
	}
	if len(above.Ranges) > 0 {
		p.Ranges = append(p.Ranges, above)
	}
	if below.Head == 0 {
		return false
	}
	first := below.Ranges()[0].From
	for i, k := range record.Kinds {
		if s.Floors[i] >= first {
			p.Scopes = append(p.Scopes, store.ScopeOf(s.Writer, k))
		}
	}
	p.Takes = append(p.Takes, record.Closed{Writer: s.Writer, Received: below})
	return true
}

// Lister reads a listing from one snapshot, page by page.
type Lister struct {
	snap    store.Snapshot
	listing store.Listing
	end     store.ListingEnd
	rest    []rest // of the records that no scope covers
	first   bool
}

// rest is a part of what is taken over, with the kinds that are listed.
type rest struct {
	writer  record.Writer
	rang    record.Range
	without []record.Kind
}

// NewLister begins the listing that a plan asks for. The snapshot stays the
// caller's to close.
func NewLister(snap store.Snapshot, mode store.Mode, p Plan) (*Lister, error) {
	l := &Lister{snap: snap, first: true, end: store.ListingEnd{Mode: mode, Scopes: p.Scopes, Takes: p.Takes}}
	var err error
	if l.listing, err = snap.List(p.Scopes); err != nil {
		return nil, fmt.Errorf("begin listing: %w", err)
	}
	ws, err := snap.Writers()
	if err != nil {
		return nil, fmt.Errorf("read received sets: %w", err)
	}
	nodes, err := snap.Nodes()
	if err != nil {
		return nil, fmt.Errorf("read boots: %w", err)
	}
	for _, w := range ws {
		if l.reaches(w.Writer.Node) {
			w.Fingerprints = [len(record.Kinds)]record.Fingerprint{}
			l.end.Writers = append(l.end.Writers, w)
		}
	}
	for _, n := range nodes {
		if l.reaches(n.Node) {
			l.end.Nodes = append(l.end.Nodes, n)
		}
	}
	for _, t := range p.Takes {
		var without []record.Kind
		for _, k := range record.Kinds {
			if l.end.Covers(t.Writer, k) {
				without = append(without, k)
			}
		}
		if len(without) < len(record.Kinds) {
			for _, g := range t.Received.Ranges() {
				l.rest = append(l.rest, rest{t.Writer, g, without})
			}
		}
	}
	return l, nil
}

// reaches reports whether a scope may hold records of a node's writers.
func (l *Lister) reaches(n record.Node) bool {
	return slices.ContainsFunc(l.end.Scopes, func(s store.Scope) bool { return s.Node == n || s.Kind != record.Owned })
}

// Page returns the next page, of about limit bytes. The last one has an End;
// an error says that there will be none.
func (l *Lister) Page(limit int) (store.ListingPage, error) {
	p := store.ListingPage{First: l.first}
	l.first = false
	if l.listing != nil {
		list, err := l.listing.Next(limit)
		if err == nil {
			p.Listed = list
			return p, nil
		}
		if !errors.Is(err, io.EOF) {
			return p, fmt.Errorf("read listing: %w", err)
		}
		l.listing = nil
	}
	for size := 0; len(l.rest) > 0 && size < limit; {
		r := &l.rest[0]
		ds, err := l.snap.Deliver(r.writer, r.rang, limit-size, r.without...)
		if err != nil {
			return p, fmt.Errorf("read the rest of %v: %w", r.writer, err)
		}
		for _, d := range ds {
			size += replica.Size(d)
			p.Rest = append(p.Rest, d.Changesets...)
			r.rang.From = d.Range.To + 1
		}
		if len(ds) == 0 || r.rang.From > r.rang.To {
			l.rest = l.rest[1:]
		}
	}
	if len(l.rest) == 0 {
		p.End = &l.end
	}
	return p, nil
}

// PageOf converts a store's page of a listing to the core's.
func PageOf(p store.ListingPage) replica.Page {
	out := replica.Page{Listed: p.Listed, Rest: p.Rest}
	if p.End == nil {
		return out
	}
	out.End = &replica.End{Mode: replica.Mode(p.End.Mode), Boots: Boots(p.End.Nodes), Takes: p.End.Takes}
	for _, s := range p.End.Scopes {
		out.End.Scopes = append(out.End.Scopes, replica.Scope(s))
	}
	for _, w := range p.End.Writers {
		out.End.Writers = append(out.End.Writers, replica.Floors{Writer: w.Writer, Received: w.Received, Floors: w.Floors})
	}
	return out
}

// ListingPage converts a page of a listing from the core to the store.
func ListingPage(t replica.TakePage) store.ListingPage {
	out := store.ListingPage{First: t.First, Listed: t.Page.Listed, Rest: t.Page.Rest}
	end := t.Page.End
	if end == nil {
		return out
	}
	out.End = &store.ListingEnd{Mode: store.Mode(end.Mode), Takes: end.Takes}
	for _, s := range end.Scopes {
		out.End.Scopes = append(out.End.Scopes, store.Scope(s))
	}
	for _, w := range end.Writers {
		out.End.Writers = append(out.End.Writers, store.WriterState{Writer: w.Writer, Received: w.Received, Floors: w.Floors})
	}
	for _, b := range end.Boots {
		out.End.Nodes = append(out.End.Nodes, store.NodeState(b))
	}
	return out
}
