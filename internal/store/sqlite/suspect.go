package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// What was in hand when the process ended is suspect. It is merged one record
// at a time, each alone in the journal; a record that was so at maxCrashes ends
// is withheld, and tried again by another program and every retryCrash.
const (
	maxCrashes = 2
	retryCrash = time.Hour
)

const (
	sqlSuspects    = `SELECT node, boot, bits, low, high FROM _fb_local_suspects`
	sqlPutSuspect  = `INSERT OR REPLACE INTO _fb_local_suspects (node, boot, bits, low, high) VALUES (?, ?, ?, ?, ?)`
	sqlDropSuspect = `DELETE FROM _fb_local_suspects WHERE node = ? AND boot = ? AND bits = ? AND low >= ? AND high <= ?`
	sqlCrashes     = `SELECT hash, crashes FROM _fb_local_crashes`
	sqlCrashed     = `INSERT INTO _fb_local_crashes (hash, crashes, tried, program) VALUES (?, 1, ?, ?)
		ON CONFLICT (hash) DO UPDATE SET crashes = crashes + 1, tried = excluded.tried, program = excluded.program`
	sqlDropCrash = `DELETE FROM _fb_local_crashes WHERE hash = ?`
	sqlTried     = `UPDATE _fb_local_crashes SET tried = ?, program = ? WHERE hash = ?`
	sqlDueCrash  = `SELECT ` + heldColumns + ` FROM _fb_withheld h WHERE reason = 'crash' AND stub = 0 AND foreign_w = 0 AND NOT EXISTS
		(SELECT 1 FROM _fb_local_crashes c WHERE c.hash = h.hash AND c.program = ? AND c.tried > ?) LIMIT 1`
)

// suspects is what earlier ends of this process make suspect. Owned by the loop.
type suspects struct {
	ranges  map[record.Writer][]record.Range
	crashes map[record.Hash]int64
}

// loadSuspects takes over what the journal holds, and empties it.
func (db *DB) loadSuspects(left []intent) error {
	err := db.inTransaction(func() error {
		for _, in := range left {
			w := in.writer
			if w.IsZero() {
				if err := db.c.exec(sqlCrashed, in.alone[:], db.cfg.Now().UnixMilli(), db.cfg.Program); err != nil {
					return err
				}
				continue
			}
			if err := db.c.exec(sqlPutSuspect, string(w.Node), int64(w.Boot), int64(w.Bits), int64(in.rang.From), int64(in.rang.To)); err != nil {
				return err
			}
		}
		return db.readSuspects()
	})
	if err != nil {
		return err
	}
	if len(left) > 0 {
		db.cfg.Logger.Warn("the last process ended while it merged records: they are merged one at a time", "suspects", len(left))
	}
	return db.intents.reset()
}

func (db *DB) readSuspects() error {
	s := suspects{ranges: map[record.Writer][]record.Range{}, crashes: map[record.Hash]int64{}}
	err := db.c.rows(context.Background(), sqlSuspects, nil, func(r []record.Value) error {
		w := record.Writer{Node: record.Node(r[0].Data), Boot: uint64(r[1].Int), Bits: uint64(r[2].Int)}
		s.ranges[w] = append(s.ranges[w], record.Range{From: record.Version(r[3].Int), To: record.Version(r[4].Int)})
		return nil
	})
	if err != nil {
		return err
	}
	err = db.c.rows(context.Background(), sqlCrashes, nil, func(r []record.Value) error {
		var h record.Hash
		copy(h[:], r[0].Data)
		s.crashes[h] = r[1].Int
		return nil
	})
	db.suspects = s
	return err
}

// suspect reports whether something of r was in hand at an end.
func (s *suspects) suspect(w record.Writer, r record.Range) bool {
	return slices.ContainsFunc(s.ranges[w], func(o record.Range) bool { return o.From <= r.To && r.From <= o.To })
}

// cleared forgets suspects that were merged after all.
func (db *DB) cleared(w record.Writer, r record.Range) error {
	if len(db.suspects.ranges[w]) == 0 {
		return nil
	}
	inside := func(o record.Range) bool { return o.From >= r.From && o.To <= r.To }
	err := db.transaction(false, func(x *work) error {
		return x.c.exec(sqlDropSuspect, string(w.Node), int64(w.Boot), int64(w.Bits), int64(r.From), int64(r.To))
	})
	if err != nil {
		return err
	}
	db.suspects.ranges[w] = slices.DeleteFunc(db.suspects.ranges[w], inside)
	if len(db.suspects.ranges[w]) == 0 {
		delete(db.suspects.ranges, w)
	}
	return nil
}

// retryCrashed tries one record again that has ended the process, if one is
// due, and reports whether there may be more.
func (db *DB) retryCrashed() (more bool, err error) {
	now := db.cfg.Now()
	var due []*heldRecord
	err = db.transaction(true, func(w *work) (err error) {
		if due, err = w.list(sqlDueCrash, db.cfg.Program, now.Add(-retryCrash).UnixMilli()); err != nil || len(due) == 0 {
			return err
		}
		h := due[0].hash
		if err := w.c.exec(`INSERT OR IGNORE INTO _fb_local_crashes (hash, crashes, tried, program) VALUES (?, ?, 0, '')`, h[:], int64(maxCrashes)); err != nil {
			return err
		}
		// Before it is tried: if that ends the process, the next one waits.
		return w.c.exec(sqlTried, now.UnixMilli(), db.cfg.Program, h[:])
	})
	if err != nil || len(due) == 0 {
		return false, err
	}
	return true, db.releaseAlone(due[0], true)
}
