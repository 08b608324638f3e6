package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
)

// recount reads every row of a file that nobody has open, hashes it anew, and
// compares the sums with the fingerprints. The rows of a table that this
// program does not know cannot be read; then the hashes that the file has of
// all rows are summed up.
func (c *conn) recount(ctx context.Context, tables []schema.Table, out *Stripped) error {
	names, err := c.names(ctx)
	if err != nil {
		return err
	}
	known, err := c.knownTables(tables, names)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		user, replicated := strings.CutPrefix(name, sidePrefix)
		if !replicated {
			continue
		}
		n, err := c.row("SELECT count(*) FROM " + schema.Quote(user))
		if err != nil {
			return err
		}
		out.Rows += n[0].Int
		if known.byName[user] == nil {
			out.Unread = append(out.Unread, user)
		}
	}
	s := &snapshot{
		hasher: record.NewHasher(out.Donor.Fleet, out.Donor.Cluster), tables: known,
		byID: map[int64]*writerState{}, byName: map[record.Writer]int64{},
	}
	if _, err := readWriters(c, func(w *writerState) { s.byID[w.id], s.byName[w.writer] = w, w.id }); err != nil {
		return err
	}
	v := newVerifier(s)
	if err := v.records(ctx, c); err != nil {
		return err
	}
	out.Withheld = int64(v.out.Withheld)
	if len(out.Unread) == 0 {
		v.prints()
	} else if err := c.sumStored(ctx, names, s.byID, out); err != nil {
		return err
	}
	if len(v.out.Damage) == 0 {
		return nil
	}
	first := v.out.Damage[0]
	where := ""
	if first.Table != "" {
		where = fmt.Sprintf("table %s: row %v ", first.Table, first.Key)
	}
	return fmt.Errorf("%w: its rows are not what was received: %s%s (%d in all)", ErrDamaged, where, first.What, int64(len(v.out.Damage))+v.out.More)
}

// knownTables are those of tables, of the engine and of users that are in the
// file with all their columns.
func (c *conn) knownTables(tables []schema.Table, names map[string]bool) (*tableSet, error) {
	kept, err := c.keptSchema(keptEffect)
	if err != nil {
		return nil, fmt.Errorf("the schema in effect: %w", err)
	}
	all := newTableSet(0, nil).all
	for _, t := range slices.Concat(tables, []schema.Table{definition.TableOf()}, kept) {
		all = append(all, newTable(t))
	}
	known := &tableSet{byID: map[record.TableID]*table{}, byName: map[string]*table{}}
	for _, t := range all {
		if t.Kind == 0 || !names[sidePrefix+t.Name] || known.byName[t.Name] != nil {
			continue
		}
		have, err := columnsIn(c, t.Name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(t.Names(), func(n string) bool { _, there := have[n]; return !there }) {
			continue // of another program's time
		}
		known.all = append(known.all, t)
		known.byID[t.ID], known.byName[t.Name] = t, t
	}
	return known, nil
}

// sumStored compares the hashes that the file has of all rows with the
// fingerprints of their writers.
func (c *conn) sumStored(ctx context.Context, names map[string]bool, writers map[int64]*writerState, out *Stripped) error {
	sums := map[int64]record.Fingerprint{}
	for name := range names {
		if !strings.HasPrefix(name, sidePrefix) {
			continue
		}
		err := c.rows(ctx, "SELECT _fb_w, _fb_hash FROM "+schema.Quote(name)+" WHERE NOT _fb_del", nil, func(r []record.Value) error {
			var h record.Hash
			copy(h[:], r[1].Data)
			sums[r[0].Int] = sums[r[0].Int].Add(h)
			return nil
		})
		if err != nil {
			return err
		}
	}
	skip := map[int64]bool{}
	err := c.rows(ctx, `SELECT w FROM _fb_withheld`, nil, func(r []record.Value) error {
		skip[r[0].Int] = true
		return nil
	})
	var wrong []error
	for id, w := range writers {
		switch {
		case sums[id] == total(w.prints) && !skip[id]:
		case out.Withheld > 0: // a withheld record may outrank a row that is shown
			out.Unchecked++
		default:
			wrong = append(wrong, fmt.Errorf("%w: rows of %v do not add up to its fingerprint", ErrDamaged, w.writer))
		}
	}
	return errors.Join(append(wrong, err)...)
}

// total is the sum over all kinds of tables.
func total(prints [3]record.Fingerprint) record.Fingerprint {
	var sum record.Fingerprint
	for _, p := range prints {
		var h record.Hash
		binary.BigEndian.PutUint64(h[:8], p.Hi)
		binary.BigEndian.PutUint64(h[8:], p.Lo)
		sum = sum.Add(h)
	}
	return sum
}
