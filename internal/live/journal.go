package live

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// journal keeps watches over restarts: what each has told, and the rows it
// knows. A change is in it before anybody hears of it.
//
// Nothing is fsynced: it survives the end of the process, and after a restart
// of the machine that was not orderly it is thrown away, since it may lack
// changes that clients have seen. They are then told that their watch is
// unknown, and begin anew.
type journal struct {
	path string
	db   *bolt.DB
	keep uint64        // changes kept of one watch
	hurt chan struct{} // closed when damage is found

	// Held while the library runs: what it locks itself may stay locked over a
	// damaged page, and whoever waited for it would wait for ever.
	mu     sync.RWMutex
	broken atomic.Bool
}

// known is a watch of the journal.
type known struct {
	id       uuid.UUID
	sql      string
	args     []record.Value
	progress progress
}

// definition is what makes a watch: kept as JSON.
type definition struct {
	SQL  string `json:"sql"`
	Args []byte `json:"args"` // canonical values
}

// progress is how far a watch is.
type progress struct {
	last uint64 // change id
	row  uint64 // row id
	from uint64 // oldest change that is kept
}

var (
	bucketMeta    = []byte("meta")
	bucketWatches = []byte("watches")
	bucketRows    = []byte("rows")
	bucketLog     = []byte("log")
	keyPosition   = []byte("position")
	keyMachine    = []byte("machine") // its start, and "clean" after an orderly end
	keyDefinition = []byte("definition")
	keyProgress   = []byte("progress")
)

// machineStart names the start of this machine: after a power cut it is
// another.
func machineStart() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown" // as good as a restart each time: see openJournal
	}
	return strings.TrimSpace(string(b))
}

// openJournal opens the file, or begins it anew if it is damaged or may lack
// what clients have seen. OnLine says whether the store still knows a position.
func openJournal(path string, keep uint64, onLine func(store.Position) bool) (*journal, []known, string, error) {
	j := newJournal(path, keep)
	var all []known
	anew := ""
	err := guarded(j.open)
	if err == nil {
		anew, err = j.check(onLine)
	}
	if err == nil && anew == "" {
		if all, err = j.list(); err == nil {
			err = j.mark(machineStart())
		}
	}
	if err != nil {
		anew = "they are damaged: " + err.Error()
	}
	if anew == "" {
		return j, all, "", nil
	}
	if j.db != nil && !j.broken.Load() { // else its locks may be held for ever
		_ = guarded(j.db.Close)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, "", fmt.Errorf("watch journal: %w", err)
	}
	j = newJournal(path, keep)
	if err := j.open(); err != nil {
		return nil, nil, "", fmt.Errorf("watch journal: %w", err)
	}
	return j, nil, anew, j.mark(machineStart())
}

func newJournal(path string, keep uint64) *journal {
	return &journal{path: path, keep: keep, hurt: make(chan struct{})}
}

// guarded makes an error of what a damaged file does: the library panics over
// pages that cannot be, and the memory of a file that was cut short faults.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return fn()
}

// view and update run fn in a transaction. After one that found damage nothing
// more is read or written.
func (j *journal) view(fn func(*bolt.Tx) error) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.run(func() error { return j.db.View(fn) })
}

func (j *journal) update(fn func(*bolt.Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.run(func() error { return j.db.Update(fn) })
}

func (j *journal) run(fn func() error) error {
	if j.broken.Load() {
		return ErrLost
	}
	err := guarded(fn)
	if !errors.Is(err, errDamaged) {
		return err
	}
	if !j.broken.Swap(true) {
		err = errors.Join(err, os.Remove(j.path))
		close(j.hurt)
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// open has the list of free pages kept in the file: without it the library
// looks for them at each open in a goroutine of its own, whose panic over a
// damaged page nobody could catch.
func (j *journal) open() (err error) {
	j.db, err = bolt.Open(j.path, 0o600, &bolt.Options{
		NoSync: true, NoGrowSync: true, FreelistType: bolt.FreelistMapType, Timeout: time.Second,
	})
	if err != nil {
		return err
	}
	return j.db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err == nil {
			_, err = tx.CreateBucketIfNotExists(bucketWatches)
		}
		return err
	})
}

// check says why the journal cannot be continued.
func (j *journal) check(onLine func(store.Position) bool) (anew string, err error) {
	err = j.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		at, machine := meta.Get(keyPosition), string(meta.Get(keyMachine))
		switch {
		case at == nil:
			return nil // nothing was ever told
		case machine != "clean" && (machine != machineStart() || machine == "unknown"):
			anew = "the machine ended without an orderly stop"
		default:
			var p store.Position
			if err := json.Unmarshal(at, &p); err != nil {
				return err
			}
			if !onLine(p) {
				anew = "the database has another history"
			}
		}
		return nil
	})
	return anew, err
}

func (j *journal) mark(machine string) error {
	return j.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyMachine, []byte(machine)) })
}

// close ends the journal in order: only then may another start of the machine
// go on with it.
func (j *journal) close() error {
	err := j.mark("clean")
	if j.broken.Load() {
		return nil // what it holds is no good, and its locks may be held for ever
	}
	return errors.Join(err, j.db.Sync(), j.db.Close())
}

// list returns every watch.
func (j *journal) list() (all []known, err error) {
	err = j.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketWatches).ForEachBucket(func(k []byte) error {
			id, err := uuid.FromBytes(k)
			if err != nil {
				return err
			}
			b := tx.Bucket(bucketWatches).Bucket(k)
			var d definition
			if err := json.Unmarshal(b.Get(keyDefinition), &d); err != nil {
				return err
			}
			args, err := readArgs(d.Args)
			if b.Bucket(bucketRows) == nil || b.Bucket(bucketLog) == nil {
				err = errDamaged
			}
			all = append(all, known{id, d.SQL, args, readProgress(b.Get(keyProgress))})
			return err
		})
	})
	return all, err
}

func readProgress(b []byte) progress {
	if len(b) != 24 {
		return progress{from: 1}
	}
	return progress{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
}

func (p progress) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.last)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, p.row), p.from)
}

// define writes a watch's definition.
func (j *journal) define(id uuid.UUID, d definition) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return j.update(func(tx *bolt.Tx) error {
		b, err := tx.Bucket(bucketWatches).CreateBucketIfNotExists(id[:])
		if err != nil {
			return err
		}
		for _, name := range [][]byte{bucketRows, bucketLog} {
			if _, err := b.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return b.Put(keyDefinition, text)
	})
}

// step is what one look at a watch's result brought.
type step struct {
	changes  []Change
	identity []string // of each change's row
	progress progress // after it
	position store.Position
	initial  map[string]*Row // the rows of a watch's first look, which are no changes
	bytes    int             // by how much the rows grew
	rows     int             // by how many, the first look's aside
}

// write keeps a step. The progress comes back with what was forgotten.
func (j *journal) write(id uuid.UUID, s step) (progress, error) {
	p := s.progress
	if p.from == 0 {
		p.from = 1
	}
	err := j.update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketWatches).Bucket(id[:])
		if b == nil {
			return fmt.Errorf("watch %v is not in the journal", id)
		}
		rows, log := b.Bucket(bucketRows), b.Bucket(bucketLog)
		for identity, r := range s.initial {
			if err := rows.Put([]byte(identity), appendRow(nil, *r)); err != nil {
				return err
			}
		}
		for i, c := range s.changes {
			if err := writeChange(rows, log, s.identity[i], c); err != nil {
				return err
			}
		}
		for ; p.last >= p.from+j.keep; p.from++ {
			if err := log.Delete(binary.BigEndian.AppendUint64(nil, p.from)); err != nil {
				return err
			}
		}
		at, err := json.Marshal(s.position)
		if err != nil {
			return err
		}
		return errors.Join(b.Put(keyProgress, p.append(nil)), tx.Bucket(bucketMeta).Put(keyPosition, at))
	})
	if err != nil {
		return p, fmt.Errorf("watch journal: %w", err)
	}
	return p, nil
}

func writeChange(rows, log *bolt.Bucket, identity string, c Change) error {
	if err := log.Put(binary.BigEndian.AppendUint64(nil, c.ID), appendChange(nil, c)); err != nil {
		return err
	}
	if c.Kind == Delete {
		return rows.Delete([]byte(identity))
	}
	return rows.Put([]byte(identity), appendRow(nil, c.Row))
}

// rows reads what a watch knows.
func (j *journal) rows(id uuid.UUID) (map[string]*Row, error) {
	out := map[string]*Row{}
	var next []byte
	for more := true; more; {
		more = false
		err := j.view(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucketWatches).Bucket(id[:])
			if b == nil {
				return ErrUnknown
			}
			c := b.Bucket(bucketRows).Cursor()
			n := 0
			for k, v := c.Seek(next); k != nil; k, v = c.Next() {
				if n++; n > maxRead {
					next, more = bytes.Clone(k), true // others write meanwhile, not to these rows
					return nil
				}
				r, err := readRow(v)
				if err != nil {
					return err
				}
				out[string(k)] = &r
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// read returns up to limit changes after one.
func (j *journal) read(id uuid.UUID, after uint64, limit int) ([]Change, error) {
	var out []Change
	err := j.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketWatches).Bucket(id[:])
		if b == nil {
			return ErrUnknown
		}
		c := b.Bucket(bucketLog).Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint64(nil, after+1)); k != nil && len(out) < limit; k, v = c.Next() {
			change, err := readChange(binary.BigEndian.Uint64(k), v)
			if err != nil {
				return err
			}
			out = append(out, change)
		}
		return nil
	})
	return out, err
}

// drop forgets a watch.
func (j *journal) drop(id uuid.UUID) error {
	err := j.update(func(tx *bolt.Tx) error { return tx.Bucket(bucketWatches).DeleteBucket(id[:]) })
	if err != nil {
		return fmt.Errorf("watch journal: %w", err)
	}
	return nil
}
