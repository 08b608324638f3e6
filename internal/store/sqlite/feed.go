package sqlite

import (
	"context"
	"slices"
	"sync"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	maxRing     = 4096     // feed entries in memory
	maxRingSize = 16 << 20 // their size, about
	feedBatch   = 256      // entries of one Next
)

// feedLine is the feed: the entries of the last while in memory, shared by all
// consumers, and the stretches of this node's starts. Older entries are read
// from disk. Consumers read at their own pace; none is waited for.
type feedLine struct {
	node record.Node // constant
	keep int         // constant: entries kept on disk

	mu      sync.Mutex
	boots   []lineBoot
	entries []store.Entry // the newest, ascending without gap
	sizes   []int
	size    int
	last    uint64 // sequence of the newest entry
	oldest  uint64 // sequence of the oldest entry on disk
	more    chan struct{}
	closed  bool
}

func newLine(node record.Node, keep int) *feedLine {
	return &feedLine{node: node, keep: keep, more: make(chan struct{}), oldest: 1}
}

// loadFeed makes the line of a database that was just opened.
func loadFeed(c *conn, cfg Config, st *state) (*feedLine, error) {
	l := newLine(cfg.Node, cfg.FeedKeep)
	oldest, err := c.row(`SELECT sequence, entries FROM _fb_local_feed ORDER BY sequence LIMIT 1`)
	if err != nil {
		return nil, err
	}
	l.last, l.oldest = st.sequence, st.sequence+1
	if oldest == nil {
		return l, nil
	}
	r := lineReader{b: oldest[1].Data}
	l.oldest = uint64(oldest[0].Int) + 1 - uint64(r.count())
	return l, r.err
}

// publish adds committed entries and wakes who waits.
func (l *feedLine) publish(entries []store.Entry, boots []lineBoot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.boots = boots
	for _, e := range entries {
		n := sizeOfEntry(e)
		l.entries, l.sizes, l.size = append(l.entries, e), append(l.sizes, n), l.size+n
		l.last = e.Position.Sequence
	}
	drop := 0
	for len(l.entries)-drop > maxRing || l.size > maxRingSize && len(l.entries)-drop > 1 {
		l.size -= l.sizes[drop]
		drop++
	}
	if drop > 0 {
		clear(l.entries[:drop])
		l.entries, l.sizes = l.entries[drop:], l.sizes[drop:]
	}
	close(l.more)
	l.more = make(chan struct{})
}

// reach waits until p, which a snapshot has seen, is on the line: a commit is
// visible a moment before it is published.
func (l *feedLine) reach(ctx context.Context, p store.Position) error {
	for {
		l.mu.Lock()
		closed, more := l.closed, l.more
		there := l.last >= p.Sequence && slices.ContainsFunc(l.boots, func(b lineBoot) bool { return b.boot == p.Boot && b.bits == p.Bits })
		l.mu.Unlock()
		switch {
		case there:
			return nil
		case closed:
			return store.ErrClosed
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sizeOfEntry(e store.Entry) int {
	n := 256 + 256*len(e.States)
	for _, c := range e.Changes {
		n += 128 + len(c.Key)
		for _, r := range []store.Row{c.Old, c.New} {
			for _, v := range r {
				n += 48 + len(v.Data)
			}
		}
	}
	if e.Local != nil {
		for _, r := range e.Local.Records {
			n += 128 + len(r.Key) + len(r.Cells)
		}
	}
	return n
}

// check reports whether p is on this store's line and what follows it is kept.
func (l *feedLine) check(p store.Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Node != l.node || p.Sequence+1 < l.oldest {
		return store.ErrResync
	}
	for i, b := range l.boots {
		if b.boot != p.Boot || b.bits != p.Bits {
			continue
		}
		end := l.last
		if i+1 < len(l.boots) {
			end = l.boots[i+1].start
		}
		if p.Sequence >= b.start && p.Sequence <= end {
			return nil
		}
	}
	return store.ErrResync
}

// after returns entries after a sequence that are in memory, or that there are
// some on disk, or a channel that is closed when there are more.
func (l *feedLine) after(seq uint64) (entries []store.Entry, onDisk bool, more <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, false, nil, store.ErrClosed
	case seq >= l.last:
		return nil, false, l.more, nil
	case seq+1 < l.oldest:
		return nil, false, nil, store.ErrResync
	}
	first := l.last + 1 - uint64(len(l.entries))
	if seq+1 < first {
		return nil, true, nil, nil
	}
	rest := l.entries[seq+1-first:]
	return rest[:min(len(rest), feedBatch):min(len(rest), feedBatch)], false, nil, nil
}

// at is the writer and place of a sequence on the line.
func (l *feedLine) at(seq uint64) store.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := store.Position{Node: l.node, Sequence: seq}
	for _, b := range l.boots {
		if b.start < seq {
			p.Boot, p.Bits = b.boot, b.bits
		}
	}
	return p
}

// trimmable returns the sequence up to which the disk may forget, if that is
// at least step entries.
func (l *feedLine) trimmable(step uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last < uint64(l.keep) || l.last-uint64(l.keep)+1 < l.oldest+step {
		return 0
	}
	return l.last - uint64(l.keep) + 1
}

func (l *feedLine) trimmed(oldest uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.oldest = oldest
}

func (l *feedLine) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.more)
}

// Feed implements [store.Store].
func (db *DB) Feed(from store.Position) (store.Feed, error) {
	if err := db.line.check(from); err != nil {
		return nil, err
	}
	return &feed{db: db, seq: from.Sequence, quit: make(chan struct{})}, nil
}

// feed is one consumer. It holds nothing but its place.
type feed struct {
	db   *DB
	seq  uint64 // owned by the caller of Next
	quit chan struct{}
	once sync.Once
}

func (f *feed) Next(ctx context.Context) ([]store.Entry, error) {
	for {
		select {
		case <-f.quit:
			return nil, store.ErrClosed
		default:
		}
		entries, onDisk, more, err := f.db.line.after(f.seq)
		if err == nil && onDisk {
			entries, err = f.db.feedFromDisk(ctx, f.seq)
		}
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			f.seq = entries[len(entries)-1].Position.Sequence
			return entries, nil
		}
		select {
		case <-more:
		case <-f.quit:
			return nil, store.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.quit) })
	return nil
}
