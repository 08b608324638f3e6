package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/hlc"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// format counts the layouts of the engine's tables.
const format = 5

const identityTable = `CREATE TABLE IF NOT EXISTS _fb_local_identity (
	one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, fleet TEXT NOT NULL,
	cluster TEXT NOT NULL, lane TEXT NOT NULL, node TEXT NOT NULL) STRICT`

var engineTables = []string{
	identityTable,
	`CREATE TABLE IF NOT EXISTS _fb_writers (
		id INTEGER PRIMARY KEY, node TEXT NOT NULL, boot INTEGER NOT NULL, bits INTEGER NOT NULL,
		received BLOB NOT NULL, owned BLOB NOT NULL, shared BLOB NOT NULL, ranked BLOB NOT NULL, floors BLOB NOT NULL,
		UNIQUE (node, boot, bits)) STRICT`,
	// Foreign is 1 for records that are not in the name of their writer's
	// node: each is kept by its own rank. Of the others there is one per key.
	`CREATE TABLE IF NOT EXISTS _fb_withheld (
		tbl INTEGER NOT NULL, key BLOB NOT NULL, foreign_w INTEGER NOT NULL, foreign_v INTEGER NOT NULL,
		w INTEGER NOT NULL, v INTEGER NOT NULL, wall INTEGER NOT NULL, kind INTEGER NOT NULL, ord BLOB NOT NULL,
		del INTEGER NOT NULL, hash BLOB NOT NULL, cells BLOB NOT NULL,
		reason TEXT NOT NULL, detail TEXT NOT NULL, since INTEGER NOT NULL, stub INTEGER NOT NULL,
		PRIMARY KEY (tbl, key, foreign_w, foreign_v)) STRICT, WITHOUT ROWID`,
	`CREATE INDEX IF NOT EXISTS _fb_withheld_by_writer ON _fb_withheld (w, v)`,
	`CREATE TABLE IF NOT EXISTS _fb_nodes (
		node TEXT PRIMARY KEY, closed INTEGER NOT NULL, evicted INTEGER NOT NULL, complete INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
	`CREATE TABLE IF NOT EXISTS _fb_local_values (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
	`CREATE TABLE IF NOT EXISTS _fb_local_boots (
		id INTEGER PRIMARY KEY, boot INTEGER NOT NULL, bits INTEGER NOT NULL, start INTEGER NOT NULL) STRICT`,
	// What was in hand when a process ended, and how often a record was alone.
	`CREATE TABLE IF NOT EXISTS _fb_local_suspects (
		node TEXT NOT NULL, boot INTEGER NOT NULL, bits INTEGER NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
		PRIMARY KEY (node, boot, bits, low)) STRICT, WITHOUT ROWID`,
	`CREATE TABLE IF NOT EXISTS _fb_local_crashes (
		hash BLOB PRIMARY KEY, crashes INTEGER NOT NULL, tried INTEGER NOT NULL, program TEXT NOT NULL) STRICT, WITHOUT ROWID`,
	// The indexes beside the key that a schema has asked for.
	`CREATE TABLE IF NOT EXISTS _fb_local_indexes (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID`,
	keptTables,
	// The entries of one transaction; sequence is that of the last. Own is the
	// state after it of this node's writer then: in the newest row it stands
	// above _fb_writers, which so need not be written with every commit.
	`CREATE TABLE IF NOT EXISTS _fb_local_feed (sequence INTEGER PRIMARY KEY, entries BLOB NOT NULL, own BLOB NOT NULL) STRICT`,
}

// Names in _fb_local_values, those that adoptName makes aside.
const (
	valueStamp  = "stamp"  // largest stamp given or made visible
	valueClean  = "clean"  // 1 after a clean close
	valueSchema = "schema" // how many changes of its tables the file has seen
)

const (
	sqlPutWriter = `INSERT INTO _fb_writers (id, node, boot, bits, received, owned, shared, ranked, floors) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET received = excluded.received, owned = excluded.owned, shared = excluded.shared, ranked = excluded.ranked, floors = excluded.floors`
	sqlOwn      = `SELECT own FROM _fb_local_feed ORDER BY sequence DESC LIMIT 1`
	sqlPutOwn   = `UPDATE _fb_local_feed SET own = ? WHERE sequence = (SELECT max(sequence) FROM _fb_local_feed)`
	sqlPutFeed  = `INSERT INTO _fb_local_feed (sequence, entries, own) VALUES (?, ?, ?)`
	sqlPutState = `UPDATE _fb_writers SET received = ?, owned = ?, shared = ?, ranked = ?, floors = ? WHERE id = ?`
	sqlWriters  = `SELECT id, node, boot, bits, received, owned, shared, ranked, floors FROM _fb_writers ORDER BY id`
	sqlPutValue = `INSERT INTO _fb_local_values (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	sqlValue    = `SELECT value FROM _fb_local_values WHERE name = ?`
	sqlPutNode  = `INSERT OR REPLACE INTO _fb_nodes (node, closed, evicted, complete) VALUES (?, ?, ?, ?)`
	sqlNodes    = `SELECT node, closed, evicted, complete FROM _fb_nodes ORDER BY node`
)

// ErrInUse says that another process, or this one, has the database open.
var ErrInUse = errors.New("database is in use")

// ErrForeign says that the file belongs to somebody else, or is something else.
var ErrForeign = errors.New("not this node's database")

// checkIdentity claims a new file, and refuses one that is not cfg's.
func checkIdentity(c *conn, cfg Config) error {
	n, err := c.row(`SELECT count(*), sum(name = '_fb_local_identity') FROM sqlite_schema`)
	if err != nil {
		return err
	}
	if n[0].Int > 0 && n[1].Int == 0 {
		return fmt.Errorf("%w: it is an SQLite database of another program", ErrForeign)
	}
	if n[0].Int == 0 {
		if err := c.script("BEGIN IMMEDIATE;" + identityTable); err != nil {
			return err
		}
		err := c.exec(`INSERT INTO _fb_local_identity VALUES (1, ?, ?, ?, ?, ?)`, int64(format), cfg.Fleet, cfg.Cluster, cfg.Lane, string(cfg.Node))
		if err != nil {
			return errors.Join(err, c.script("ROLLBACK"))
		}
		return c.script("COMMIT")
	}
	id, err := c.row(`SELECT format, fleet, cluster, lane, node FROM _fb_local_identity`)
	if err != nil {
		return err
	}
	if id == nil {
		return fmt.Errorf("%w: it does not say whose it is", ErrForeign)
	}
	if id[0].Int != format {
		return fmt.Errorf("%w: its layout is number %d, this program knows %d", ErrForeign, id[0].Int, format)
	}
	for i, w := range []struct{ what, want string }{
		{"fleet", cfg.Fleet}, {"cluster", cfg.Cluster}, {"lane", cfg.Lane}, {"node", string(cfg.Node)},
	} {
		if got := id[i+1].Data; got != w.want {
			return fmt.Errorf("%w: it is of %s %q, wanted %q", ErrForeign, w.what, got, w.want)
		}
	}
	return nil
}

// value reads a number of _fb_local_values; zero if it is not there.
func (c *conn) value(name string) (int64, error) {
	v, err := c.row(sqlValue, name)
	if err != nil || v == nil {
		return 0, err
	}
	return v[0].Int, nil
}

// loadState reads what a former process left.
func loadState(c *conn) (*state, error) {
	st := newState()
	own, err := readWriters(c, func(w *writerState) {
		st.writers[w.id], st.ids[w.writer] = w, w.id
		st.lastID = max(st.lastID, w.id)
	})
	if err != nil {
		return nil, err
	}
	st.own = own
	err = readNodes(c, func(n store.NodeState) { st.nodes[n.Node] = n })
	if err != nil {
		return nil, err
	}
	err = c.rows(context.Background(), sqlClosers, nil, func(r []record.Value) error {
		if w := st.writers[r[0].Int]; w != nil {
			w.closed, st.pending[w.writer.Node] = record.Version(r[1].Int), true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.rows(context.Background(), `SELECT w, sum(length(key) + length(cells) + 128) FROM _fb_withheld GROUP BY w`, nil, func(r []record.Value) error {
		if w := st.writers[r[0].Int]; w != nil {
			w.held = r[1].Int
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.rows(context.Background(), `SELECT reason, count(*) FROM _fb_withheld GROUP BY reason`, nil, func(r []record.Value) error {
		st.held[reasonAt(store.Reason(r[0].Data))] += r[1].Int
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := loadVoids(c, st); err != nil {
		return nil, err
	}
	if v, err := c.row(sqlValue, valueStamp); err != nil {
		return nil, err
	} else if v != nil {
		st.clock.Restore(hlc.Timestamp(v[0].Int))
	}
	return st, loadLine(c, st)
}

func readNodes(c *conn, fn func(store.NodeState)) error {
	return c.rows(context.Background(), sqlNodes, nil, func(r []record.Value) error {
		fn(store.NodeState{Node: record.Node(r[0].Data), Closed: uint64(r[1].Int), Evicted: uint64(r[2].Int), Complete: uint64(r[3].Int)})
		return nil
	})
}
