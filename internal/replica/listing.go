package replica

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Scope is what a listing covers: the owned rows of one node, or all shared or
// all ranked rows.
type Scope struct {
	Kind record.Kind
	Node record.Node
}

// Floors is what a listing says of one writer.
type Floors struct {
	Writer   record.Writer
	Received record.Received
	Floors   [len(record.Kinds)]record.Version
}

// Page is a part of a listing.
type Page struct {
	Listed []record.Changeset
	Rest   []record.Changeset // of kinds that are not listed
	End    *End               // in the last page
}

// Mode is what a listing is for.
type Mode byte

// The modes, as package store defines them.
const (
	CatchUp Mode = iota + 1
	Exchange
	Repair
)

// End is what a listing says beside its records.
type End struct {
	Mode    Mode
	Scopes  []Scope
	Writers []Floors
	Boots   []Boots
	Takes   []record.Closed // what counts as received afterwards
}

const (
	kindListing = 0x08 // id (8 bytes), number of the page, then the page
	kindMore    = 0x09 // id (8 bytes), number of the page that is wanted next

	// PageSize is about how many bytes of a listing a page holds. Pages are
	// asked for one by one.
	PageSize = 256 << 10

	maxScopes     = 2*maxNodes + 2
	listingBound  = 5 * time.Minute  // for a whole listing
	listingEvery  = 10 * time.Second // between two listings of one peer
	listingLater  = 2 * time.Second  // before a peer is asked again whose listing could not be taken yet
	maxListedSize = 1 << 30          // bytes of a whole listing
)

// NewPage encodes a page as the frame that answers a Serve.
func NewPage(id uint64, number int, p Page) []byte {
	b := binary.BigEndian.AppendUint64([]byte{kindListing}, id)
	b = binary.AppendUvarint(b, uint64(number))
	b = appendChangesets(b, p.Listed)
	b = appendChangesets(b, p.Rest)
	if p.End == nil {
		return append(b, 0)
	}
	b = append(b, byte(p.End.Mode))
	b = binary.AppendUvarint(b, uint64(len(p.End.Scopes)))
	for _, s := range p.End.Scopes {
		b = append(b, byte(s.Kind))
		b = append(binary.AppendUvarint(b, uint64(len(s.Node))), s.Node...)
	}
	b = binary.AppendUvarint(b, uint64(len(p.End.Writers)))
	for _, w := range p.End.Writers {
		b = record.AppendReceived(record.AppendWriter(b, w.Writer), w.Received)
		for _, f := range w.Floors {
			b = binary.AppendUvarint(b, uint64(f))
		}
	}
	b = appendBoots(b, p.End.Boots)
	b = binary.AppendUvarint(b, uint64(len(p.End.Takes)))
	for _, t := range p.End.Takes {
		b = record.AppendReceived(record.AppendWriter(b, t.Writer), t.Received)
	}
	return b
}

// appendChangesets appends the number of writers and for each the changesets
// as a delivery, with its length. What stands of one version is put together.
func appendChangesets(b []byte, list []record.Changeset) []byte {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b record.Changeset) int {
		return cmp.Or(a.Writer.Compare(b.Writer), cmp.Compare(a.Version, b.Version))
	})
	var ds []record.Delivery
	for _, c := range list {
		if n := len(ds); n == 0 || ds[n-1].Writer != c.Writer {
			ds = append(ds, record.Delivery{Writer: c.Writer, Range: record.Range{From: c.Version, To: c.Version}})
		}
		d := &ds[len(ds)-1]
		d.Range.To = c.Version
		if n := len(d.Changesets); n > 0 && d.Changesets[n-1].Version == c.Version {
			d.Changesets[n-1].Records = slices.Concat(d.Changesets[n-1].Records, c.Records)
			continue
		}
		d.Changesets = append(d.Changesets, c)
	}
	b = binary.AppendUvarint(b, uint64(len(ds)))
	for _, d := range ds {
		b = appendParcel(b, d)
	}
	return b
}

func (r *reader) changesets() (out []record.Changeset) {
	n := r.count(MaxWriters, 20, 0)
	for range n {
		p := parcel{bytes: r.take(r.number())}
		if r.err != nil {
			return nil
		}
		d, err := p.decode(r)
		if err != nil {
			r.fail(err)
			return nil
		}
		if r.charge(2 * csMemory * len(d.Changesets)); r.err != nil { // out grows by doubling
			return nil
		}
		out = append(out, d.Changesets...)
	}
	return out
}

// page reads what NewPage wrote, after id and number.
func (r *reader) page() Page {
	p := Page{Listed: r.changesets(), Rest: r.changesets()}
	mode := Mode(r.byte())
	if r.err != nil || mode == 0 {
		return p
	}
	if mode > Repair {
		r.fail(fmt.Errorf("listing of mode %d", mode))
		return Page{}
	}
	p.End = &End{Mode: mode}
	for range r.count(maxScopes, 2, 2*leafMemory) {
		s := Scope{Kind: record.Kind(r.byte())}
		n := r.number()
		if n > 63 {
			r.fail(errors.New("node name of bad length"))
		}
		s.Node = record.Node(r.take(n))
		if owned := s.Kind == record.Owned; s.Kind < record.Owned || s.Kind > record.Ranked || owned != (s.Node != "") {
			r.fail(fmt.Errorf("listing of %v of %q", s.Kind, s.Node))
		}
		p.End.Scopes = append(p.End.Scopes, s)
	}
	n := r.count(MaxWriters, 22, floorsMemory)
	if n > 0 {
		p.End.Writers = make([]Floors, 0, n)
	}
	for range n {
		w := Floors{Writer: r.writer(), Received: r.received()}
		for i := range w.Floors {
			if w.Floors[i] = record.Version(r.number()); w.Floors[i] > maxVersion {
				r.fail(errVersion)
			}
		}
		p.End.Writers = append(p.End.Writers, w)
	}
	p.End.Boots = r.boots()
	if n = r.count(MaxWriters, 19, closedMemory); n > 0 {
		p.End.Takes = make([]record.Closed, 0, n)
	}
	for range n {
		p.End.Takes = append(p.End.Takes, record.Closed{Writer: r.writer(), Received: r.received()})
	}
	if r.err != nil {
		return Page{}
	}
	return p
}

func moreFrame(id uint64, number int) []byte {
	return binary.AppendUvarint(binary.BigEndian.AppendUint64([]byte{kindMore}, id), uint64(number))
}

// ListingWant asks for a listing where no range would do. The zero value asks
// for none.
type ListingWant struct {
	Mode  Mode
	Nodes []record.Node // catch up: whose complete boot is to rise; repair: whose owned rows are; none: the shared and ranked rows
}

// appendListingWant appends mode, count and nodes to a want.
func appendListingWant(b []byte, w ListingWant) []byte {
	if w.Mode == 0 {
		return b
	}
	b = binary.AppendUvarint(append(b, byte(w.Mode)), uint64(len(w.Nodes)))
	for _, n := range w.Nodes {
		b = appendNode(b, n)
	}
	return b
}

func (r *reader) listingWant() (w ListingWant) {
	if r.err != nil || len(r.b) == 0 {
		return w
	}
	w.Mode = Mode(r.byte())
	w.Nodes = r.ask()
	if w.Mode > Repair {
		r.fail(fmt.Errorf("want of mode %d", w.Mode))
	}
	return w
}

// gotListing takes a page of the listing that answers the request that is out.
func (c *Core) gotListing(p *peer, r *reader) {
	id, number := r.fixed(), r.number()
	s := &p.session
	if r.err != nil {
		return
	}
	if s.phase != fetching || s.id != id || number != uint64(s.page) || s.taking {
		c.unasked(p)
		return
	}
	soon := c.now < c.listedAt+listingEvery && c.listedFrom == p.node
	if c.listing != nil && c.listing != p || s.page == 0 && (soon || s.mode() == CatchUp && c.leftOut(p)) {
		*s = session{} // one at a time; a later exchange tells
		p.benched = max(p.benched, c.now+listingLater)
		c.unblock()
		return
	}
	size := len(r.b)
	page := r.page()
	if err := c.checkPage(p, page); r.err == nil && err != nil {
		r.fail(err)
	}
	if s.listed += size; s.listed > maxListedSize {
		r.fail(errors.New("listing beyond its cap"))
	}
	if r.err != nil {
		c.endListing(p)
		p.fellSilent(c.now)
		return
	}
	if s.page == 0 {
		c.listing, c.listedFrom, c.listedAt = p, p.node, c.now
		s.end = c.now + listingBound
	}
	s.taking, s.due, s.last = true, s.end, page.End != nil
	c.out.Take = &TakePage{First: s.page == 0, Page: page}
}

// leftOut reports whether p has versions that I have not received and did not
// ask it for, since they were asked of another peer or waited for the store. What
// deleted their rows may be collected at p: if they come after its listing, and
// they may though that other peer has not answered, they stay. If more is missing
// than fits into one request, only what is still on its way counts, or there
// would never be a listing.
func (c *Core) leftOut(p *peer) bool {
	return slices.ContainsFunc(p.session.sets, func(theirs State) bool {
		w := theirs.Writer
		if c.isOwn(w) || c.bootAhead(w) || w.Boot <= c.book.boots(w.Node).Complete {
			return false
		}
		var coming record.Received
		if e := c.book.find(w); e != nil {
			coming = e.pending
		}
		coming = c.elsewhere(p, w, coming)
		return slices.ContainsFunc(c.book.state(w).Received.Minus(theirs.Received), func(lacks record.Range) bool {
			return slices.ContainsFunc(p.session.notAsked(w, lacks), func(g record.Range) bool {
				return !p.session.partly || !slices.Equal(coming.Missing(g), []record.Range{g})
			})
		})
	})
}

// notAsked returns what of g was not asked for.
func (s *session) notAsked(w record.Writer, g record.Range) []record.Range {
	var asked record.Received
	for _, a := range s.asked {
		if a.Writer == w {
			for _, r := range a.Ranges {
				if r.From <= g.To {
					asked = asked.With(record.Range{From: r.From, To: min(r.To, g.To)})
				}
			}
		}
	}
	return asked.Missing(g)
}

// checkPage refuses what no sound peer says: boots that no start takes, and
// versions that this start is said to have written and has not.
func (c *Core) checkPage(p *peer, page Page) error {
	for _, part := range [][]record.Changeset{page.Listed, page.Rest} {
		for _, cs := range part {
			if c.unwritten(cs.Writer, cs.Version) {
				return fmt.Errorf("listing of version %d of %v, which is not written", cs.Version, cs.Writer)
			}
			if c.bootAhead(cs.Writer) {
				c.report(Report{Kind: ReportBoot, Peer: p.node, Writer: cs.Writer})
				return fmt.Errorf("listing of %v: boot more than two years ahead", cs.Writer)
			}
		}
	}
	if page.End == nil {
		return nil
	}
	if page.End.Mode != p.session.mode() {
		return fmt.Errorf("listing of mode %d was not asked for", page.End.Mode)
	}
	for _, b := range page.End.Boots {
		if b.Node == c.self.Node && b.over() > c.self.Boot && c.bootAhead(record.Writer{Boot: b.over()}) {
			return fmt.Errorf("boots of %s: more than two years ahead", b.Node)
		}
	}
	for _, w := range page.End.Writers {
		if c.unwritten(w.Writer, max(w.Received.Head, slices.Max(w.Floors[:]))) {
			return fmt.Errorf("listing by one who has more of %v than is written", w.Writer)
		}
	}
	for _, t := range page.End.Takes {
		if c.unwritten(t.Writer, t.Received.Head) || c.bootAhead(t.Writer) {
			return fmt.Errorf("listing takes versions of %v", t.Writer)
		}
	}
	return nil
}

// unwritten reports whether w is a writer of this start that has not come to v.
// One that is over may be forgotten, and nothing of it is taken.
func (c *Core) unwritten(w record.Writer, v record.Version) bool {
	return c.isOwn(w) && w.Boot > c.book.boots(w.Node).Complete && v > c.book.state(w).Received.Head
}

func (s *session) mode() Mode {
	if s.list.Mode == 0 {
		return CatchUp
	}
	return s.list.Mode
}

// tookPage goes on after the store has taken a page, or could not.
func (c *Core) tookPage(e TookPage) {
	p := c.listing
	if p == nil || !p.session.taking {
		return
	}
	s := &p.session
	s.taking = false
	if e.Failed || s.last {
		if !e.Failed {
			c.stats.Listings++
			if s.mode() != CatchUp {
				c.stats.Repaired++
			}
		}
		c.endListing(p)
		return
	}
	s.page++
	s.due = min(c.now+requestTimeout, s.end)
	c.send(p.node, false, moreFrame(s.id, s.page))
}

// endListing ends the session of p, and lets others list.
func (c *Core) endListing(p *peer) {
	if c.listing == p {
		c.listing = nil
	}
	p.session = session{}
	c.unblock()
}

// gotMore has the next page of a listing read.
func (c *Core) gotMore(p *peer, r *reader) {
	id, number := r.fixed(), r.number()
	if r.err != nil || number > 1<<30 {
		return
	}
	c.serve(p, Serve{To: p.node, ID: id, Page: int(number)})
}

// coverable lists the nodes of which p is complete further than I am, or has a
// closing or an eviction in effect whose record is gone, once no range of
// theirs is left to ask it for. (An eviction takes closings away; the row of
// an eviction is lost with the disk that it was on, if it comes back as an
// image once its writer is closed.)
func (c *Core) coverable(p *peer) (out []record.Node) {
	for _, b := range p.session.over {
		mine := c.book.boots(b.Node)
		closed := (b.Complete > mine.Complete || b.Closed > mine.Closed) && !c.bootAhead(record.Writer{Boot: b.Closed})
		evicted := b.Evicted > mine.Evicted && !c.bootAhead(record.Writer{Boot: b.Evicted})
		if b.Node != "" && (closed || evicted) {
			out = append(out, b.Node)
		}
	}
	return out
}
