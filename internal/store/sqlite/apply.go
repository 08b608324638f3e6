package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

const (
	maxVersion = 1<<62 - 1 // versions beyond are forged
	maxGaps    = 4096      // of one writer; a delivery that would make more is refused
)

// Apply implements [store.Store]. Its deliveries wait in one queue per writer,
// which are served in turn, so a noisy writer delays only itself.
func (db *DB) Apply(ctx context.Context, batch []record.Delivery) ([]store.Outcome, error) {
	jobs := make([]*delivery, len(batch))
	var err error
	for i, d := range batch {
		jobs[i] = &delivery{Delivery: d, done: make(chan struct{})}
		if err = db.checkDelivery(d); err != nil {
			jobs[i].out = store.Outcome{Status: store.Rejected, Err: err}
			close(jobs[i].done)
			db.metrics.deliveries.WithLabelValues("rejected").Inc()
			continue
		}
		if err = db.remote.push(ctx, jobs[i]); err != nil {
			jobs[i].err = err
			close(jobs[i].done)
		}
	}
	out := make([]store.Outcome, len(jobs))
	err = nil
	for i, j := range jobs {
		// What is queued is decided whether or not the caller still waits, so
		// wait for the loop: it ends every job, at the latest when it closes.
		<-j.done
		out[i] = j.out
		err = errors.Join(err, j.err)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkDelivery reports what is wrong with d whatever this node has.
func (db *DB) checkDelivery(d record.Delivery) error {
	switch {
	case d.Writer.Node == "" || len(d.Writer.Node) > maxNode:
		return fmt.Errorf("writer %v: bad node name", d.Writer)
	case d.Writer.Boot > db.bootLimit():
		return fmt.Errorf("writer %v: boot is beyond two years from now", d.Writer)
	case d.Writer.Node == db.cfg.Node && d.Writer.Boot == db.bootLimit():
		return fmt.Errorf("writer %v: no boot is left above it", d.Writer)
	case d.Range.From == 0 || d.Range.To < d.Range.From || d.Range.To > maxVersion:
		return fmt.Errorf("writer %v: bad range %d..%d", d.Writer, d.Range.From, d.Range.To)
	}
	next := d.Range.From
	for _, c := range d.Changesets {
		if c.Writer != d.Writer || c.Version < next || c.Version > d.Range.To {
			return fmt.Errorf("changeset %v is outside of its delivery", c.Point())
		}
		next = c.Version + 1
		if err := checkChangeset(c); err != nil {
			return fmt.Errorf("changeset %v: %w", c.Point(), err)
		}
	}
	return nil
}

func checkChangeset(c record.Changeset) error {
	if len(c.Records) > record.MaxRecords {
		return fmt.Errorf("%d records are over the cap of %d", len(c.Records), record.MaxRecords)
	}
	size := 0
	for _, r := range c.Records {
		if err := r.Check(); err != nil {
			return err
		}
		if size += len(r.Key) + len(r.Order) + len(r.Cells); size > record.MaxChangeset {
			return fmt.Errorf("more than %d bytes", record.MaxChangeset)
		}
	}
	return checkKeys(c.Records)
}

// checkKeys refuses two records of one key. Nodes send them in order, so most
// need no more than a look at their neighbours.
func checkKeys(rs []record.Record) error {
	compare := func(a, b record.Record) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), strings.Compare(string(a.Key), string(b.Key)))
	}
	if !slices.IsSortedFunc(rs, compare) {
		rs = slices.SortedFunc(slices.Values(rs), compare)
	}
	for i := 1; i < len(rs); i++ {
		if compare(rs[i-1], rs[i]) == 0 {
			return errors.New("two records of one key")
		}
	}
	return nil
}

// takeDelivery merges as much of d as the slice has time for, always whole
// changesets, and reports whether it is done with it.
func (w *work) takeDelivery(d *delivery, until func() bool) (bool, error) {
	id, known := w.st.id(d.Writer)
	var recv record.Received
	if known {
		recv = w.st.get(id).recv
	}
	if d.from == 0 {
		d.from = d.Range.From
	}
	rest := record.Range{From: d.from, To: d.Range.To}
	if recv.Covers(rest) || d.Writer.Boot <= w.st.node(d.Writer.Node).Complete {
		if err := w.fill(d, recv, id); err != nil {
			return false, err
		}
		if d.out.Status == 0 {
			d.out.Status = store.Duplicate
		}
		return true, nil
	}
	if err := w.mayTake(d, recv.With(rest)); err != nil {
		d.out = store.Outcome{Status: store.Rejected, Err: err}
		return true, nil
	}
	if !known {
		id = w.st.intern(d.Writer)
	}
	if !w.careful {
		if err := w.db.intents.add(d.Writer, rest); err != nil {
			return false, err
		}
	}
	if err := w.fill(d, recv, id); err != nil {
		return false, err
	}
	w.begin()
	merged := 0
	end, at := d.Range.To, record.Point{Writer: d.Writer, Version: d.Range.To}
	for i := d.next; i < len(d.Changesets); i++ {
		c := d.Changesets[i]
		if !recv.Has(c.Version) {
			merge := w.mergeAll
			if w.careful {
				merge = w.mergeCarefully
			}
			if err := merge(d, c, id); err != nil {
				return false, err
			}
			merged += len(c.Records)
		}
		if i+1 < len(d.Changesets) && until() {
			end, d.next, d.from = c.Version, i+1, c.Version+1
			at.Version = end
			break
		}
	}
	w.db.remote.spend(d.Writer, merged)
	s := w.st.change(id)
	s.recv = s.recv.With(record.Range{From: rest.From, To: end})
	w.changed[id] = true
	d.out.Status = store.Applied
	if err := w.settle(d.Writer.Node); err != nil {
		return false, err
	}
	w.enter(at, nil)
	return end == d.Range.To, nil
}

func (w *work) mergeAll(d *delivery, c record.Changeset, id int64) error {
	w.changes = slices.Grow(w.changes, len(c.Records))
	offers := w.db.offers[:0]
	defer func() { clear(offers) }() // the next changeset takes their place
	for _, r := range voidsFirst(c.Records) {
		offers = append(offers, offer{})
		if err := w.offer(&offers[len(offers)-1], c, id, r); err != nil {
			return fmt.Errorf("apply changeset %v: %w", c.Point(), err)
		}
	}
	w.db.offers = offers
	for rest := offers; len(rest) > 0; {
		n := together(rest)
		withheld, err := w.merge(rest[:n])
		if err != nil {
			return fmt.Errorf("apply changeset %v: %w", c.Point(), err)
		}
		d.out.Withheld += withheld
		rest = rest[n:]
	}
	return nil
}

// together is how many of the first offers can be merged at once: those of one
// table. What evicts, or makes stamps void, drops rows of other tables, so it
// goes alone.
func together(offers []offer) int {
	t, n := offers[0].table, 1
	if t == nil || t.Evicts || t.ID == voidID {
		return 1
	}
	for n < len(offers) && offers[n].table == t {
		n++
	}
	return n
}

// mayTake refuses what this node knows to be forged, and meets a writer of its
// own that it had not known of.
func (w *work) mayTake(d *delivery, next record.Received) error {
	if len(next.Gaps) > maxGaps {
		return fmt.Errorf("writer %v: more than %d gaps", d.Writer, maxGaps)
	}
	if id, ok := w.st.id(d.Writer); ok && w.st.get(id).held > w.db.maxHeld {
		w.db.metrics.capped.Inc()
		return fmt.Errorf("writer %v: more than %d bytes of it are withheld", d.Writer, w.db.maxHeld)
	}
	self := w.st.get(w.st.self).writer
	if d.Writer == self {
		return fmt.Errorf("writer %v is this node's own and never wrote version %d", d.Writer, d.Range.To)
	}
	return nil
}

// slice merges deliveries for about sliceTime in one transaction that does not
// wait for the disk.
func (db *DB) slice() {
	start := time.Now()
	until := func() bool {
		d := time.Since(start)
		return d >= sliceTime || d >= sliceTime/4 && len(db.local) > 0
	}
	if err := db.metOwnTail(); err != nil {
		db.remote.failAll(err)
		return
	}
	var b batch
	err := db.transaction(false, func(w *work) error {
		// What b holds must outlive a panic.
		err := shield(func() error { return w.takeAll(&b, until) })
		return errors.Join(err, db.intents.clear())
	})
	switch {
	case err == nil:
		for _, d := range b.finished {
			db.finish(d)
		}
	case trouble(err):
		// All of the slice is undone: nobody may take its outcome for true.
		db.remote.fail(b.taken, errors.Join(err, db.intents.clear()))
	default:
		db.isolate(b.taken, err)
	}
	if b.alone != nil {
		db.sliceAlone(b.alone)
	}
	db.metrics.slices.Observe(time.Since(start).Seconds())
}

// batch is what one slice has taken from the queue.
type batch struct {
	taken    []*delivery // to be merged together; one may be in it twice
	finished []*delivery // of those
	alone    *delivery   // that came next and is to be merged alone
}

// takeAll merges deliveries until it is time to end the slice, or one comes
// that is to be merged alone.
func (w *work) takeAll(b *batch, until func() bool) error {
	for {
		d := w.db.remote.pop()
		if d == nil {
			return nil
		}
		if d.careful || w.db.suspects.suspect(d.Writer, d.Range) {
			b.alone = d
			return nil
		}
		b.taken = append(b.taken, d)
		done, err := w.takeDelivery(d, until)
		switch {
		case err != nil:
			return err
		case done:
			b.finished = append(b.finished, d)
		default:
			w.db.remote.unpop(d)
		}
		if until() {
			return nil
		}
	}
}
