package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// model is the merge rule written a second time, as plainly as it can be: all
// that was received, looked at from the start each time it is asked.
type model struct {
	now      time.Time
	received map[record.Point]record.Changeset
}

// at is one record and where it came from.
type at struct {
	record.Record
	record.Point
}

type modelKey struct {
	table record.TableID
	key   record.Key
}

// keys groups what competes for a key; records of evicted writers and those in
// another node's name are left out, the latter returned apart.
func (m *model) keys() (byKey map[modelKey][]at, foreign []at) {
	evicted := map[record.Node]uint64{}
	for _, c := range m.received {
		for _, r := range c.Records {
			if r.Table == Tables()[3].ID {
				row, _, _ := Tables()[3].Row(r)
				n := record.Node(row[0].Data)
				evicted[n] = max(evicted[n], uint64(row[1].Int))
			}
		}
	}
	byKey = map[modelKey][]at{}
	for p, c := range m.received {
		for _, r := range c.Records {
			switch {
			case r.Kind == record.Owned && p.Writer.Boot <= evicted[p.Writer.Node]:
			case r.ForeignOwner(p.Writer):
				foreign = append(foreign, at{r, p})
			default:
				k := modelKey{r.Table, r.Key}
				byKey[k] = append(byKey[k], at{r, p})
			}
		}
	}
	return byKey, foreign
}

func highest(records []at, ok func(at) bool) *at {
	var best *at
	for _, r := range records {
		if ok(r) && (best == nil || r.Rank(r.Point) > best.Rank(best.Point)) {
			best = &r
		}
	}
	return best
}

// visible reports whether nothing speaks against showing r.
func (m *model) visible(r at) bool {
	tables := Tables()
	i := slices.IndexFunc(tables, func(t schema.Table) bool { return t.ID == r.Table })
	if i < 0 || r.Stamp() > hlc.At(m.now.Add(500*time.Millisecond)) {
		return false
	}
	if r.Deleted || tables[i].Name != "things" {
		return true
	}
	row, _, err := tables[i].Row(r.Record)
	return err == nil && row[3].Int < 1000
}

// prints are the fingerprints by writer and kind: the highest received record
// of each key, if it is live, and every live one in another node's name.
func (m *model) prints() map[record.Writer][3]record.Fingerprint {
	h := record.NewHasher(Fleet, Cluster)
	out := map[record.Writer][3]record.Fingerprint{}
	add := func(r at) {
		if !r.Deleted {
			f := out[r.Writer]
			f[r.Kind-1] = f[r.Kind-1].Add(h.Hash(r.Record, r.Point))
			out[r.Writer] = f
		}
	}
	byKey, foreign := m.keys()
	for _, records := range byKey {
		add(*highest(records, func(at) bool { return true }))
	}
	for _, r := range foreign {
		add(r)
	}
	return out
}

// rows are the visible rows of a table, in key order.
func (m *model) rows(t schema.Table) []store.Row {
	byKey, _ := m.keys()
	var best []at
	for k, records := range byKey {
		if k.table != t.ID {
			continue
		}
		if r := highest(records, m.visible); r != nil && !r.Deleted {
			best = append(best, *r)
		}
	}
	slices.SortFunc(best, func(a, b at) int { return compareKeys(a.Key, b.Key) })
	var out []store.Row
	for _, r := range best {
		row, _, _ := t.Row(r.Record)
		out = append(out, row)
	}
	return out
}

func compareKeys(a, b record.Key) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// hostile is a history with everything in it that a store may have to withhold.
func hostile(rng *rand.Rand, now time.Time) []record.Delivery {
	tables := Tables()
	other := schema.Table{Name: "later", Kind: record.Shared, Key: []schema.Column{{Name: "id", Type: "TEXT", NotNull: true}}}.WithIDs()
	id := func() string { return string(rune('x' + rng.IntN(3))) }
	stamp := func(v int) string { // no writer gives one twice
		wall := now.Add(-time.Second)
		if rng.IntN(4) == 0 {
			wall = now.Add(time.Hour)
		}
		return record.StampOrder(hlc.At(wall) + hlc.Timestamp(rng.IntN(5)*100+v))
	}
	one := func(node string, v int) record.Record {
		switch rng.IntN(12) {
		case 0, 1, 2, 3:
			return owned(node, id(), v, rng.IntN(3)*600)
		case 4:
			return owned("d", id(), v, 1) // mostly another's
		case 5:
			return tombstone(owned(node, id(), v, 1))
		case 6, 7:
			return mustRecord(tables[1], note(id(), v), stamp(v))
		case 8:
			return tombstone(mustRecord(tables[1], note(id(), v), stamp(v)))
		case 9, 10:
			return mustRecord(tables[2], mark(id(), rng.IntN(3), v), "")
		}
		return mustRecord(other, store.Row{record.Of(id())}, stamp(v))
	}
	var out []record.Delivery
	for _, node := range []string{"b", "c", "d"} {
		for boot := range uint64(2) {
			w := record.Writer{Node: record.Node(node), Boot: 100 + boot, Bits: boot + 7}
			for v := range 10 {
				records := map[record.Key]record.Record{}
				for range 1 + rng.IntN(3) {
					r := one(node, v)
					records[record.Key(fmt.Sprint(r.Table))+r.Key] = r
				}
				d := changeset(w, record.Version(v+1), now)
				for _, r := range records {
					d.Changesets[0].Records = append(d.Changesets[0].Records, r)
				}
				out = append(out, d)
			}
		}
	}
	evict := mustRecord(tables[3], store.Row{record.Of("c"), record.Of(100)}, "")
	return append(out, changeset(record.Writer{Node: "e", Boot: 100, Bits: 1}, 1, now, evict))
}

// After every step of a hostile history, in any order, with duplicates, the
// store has what the rule says of the set received, and nothing else matters.
func receivedSetDecidesEverything(t *testing.T, s *suite) {
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 11))
		st := s.open(record.Node(fmt.Sprintf("n%d", seed)))
		m := &model{now: s.now, received: map[record.Point]record.Changeset{}}
		all := hostile(rng, s.now)
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for len(all) > 0 {
			n := min(len(all), 1+rng.IntN(6))
			batch := append(slices.Clone(all[:n]), all[rng.IntN(n)])
			all = all[n:]
			s.apply(st, batch...)
			for _, d := range batch {
				m.received[d.Changesets[0].Point()] = d.Changesets[0]
			}
			if !s.matches(st, m) {
				t.Fatalf("seed %d, %d changesets received", seed, len(m.received))
			}
		}
		withheld, err := s.snapshot(st).Withheld()
		if err != nil || len(withheld) == 0 {
			t.Errorf("seed %d: nothing was withheld, the history shows nothing: %v", seed, err)
		}
	}
}

// matches compares a store with the model.
func (s *suite) matches(st store.Store, m *model) bool {
	s.t.Helper()
	want := m.prints()
	var received int
	for _, ws := range s.written(st) {
		for _, r := range ws.Received.Ranges() {
			received += int(r.Len())
		}
		if ws.Fingerprints != want[ws.Writer] {
			s.t.Errorf("writer %v: fingerprints %v, by the rule %v", ws.Writer, ws.Fingerprints, want[ws.Writer])
		}
	}
	if received != len(m.received) {
		s.t.Errorf("%d versions received, applied %d", received, len(m.received))
	}
	for _, table := range Tables()[:3] {
		if diff := cmp.Diff(m.rows(table), s.rows(st, table.Name)); diff != "" {
			s.t.Errorf("%s (-by the rule +store):\n%s", table.Name, diff)
		}
	}
	return !s.t.Failed()
}
