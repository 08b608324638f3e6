package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A log starts over only when nobody reads it. Readers of this process are
// bounded and known by name; another program may read for as long as it likes,
// and can only be found in what the kernel tells.

// pinned says who keeps a long log from starting over, as of the last
// checkpoint.
func (k *checkpointer) pinned() []string {
	if p := k.pins.Load(); p != nil {
		return *p
	}
	return nil
}

// lookForPins looks who reads a log that has grown to size bytes, if somebody
// does: then the checkpoint was not let to its end. Looking means to list the
// files of every process of the machine.
func (k *checkpointer) lookForPins(size int64, held bool) {
	if size < k.alarm || !held {
		k.pins.Store(nil)
		return
	}
	var who []string
	for _, r := range k.db.readers.list() {
		if age := time.Since(r.Since); age > time.Second {
			who = append(who, fmt.Sprintf("%v (for %v)", r, age.Round(time.Second)))
		}
	}
	for _, p := range foreignReaders(k.db.cfg.Path) {
		who = append(who, p.String())
	}
	k.pins.Store(&who)
	if len(who) > 0 && time.Since(k.warned) > time.Minute {
		k.warned = time.Now()
		k.db.cfg.Logger.Warn("log cannot start over while it is read", "bytes", size, "readers", strings.Join(who, "; "))
	}
}

// pausedByLog reports whether peers' records wait because the log is too long,
// and says so when it changes.
func (db *DB) pausedByLog() bool {
	paused := db.wal.now >= db.cfg.Limits.WAL
	if paused != db.wal.paused.Load() {
		db.wal.paused.Store(paused)
		db.cfg.Logger.Warn("peers' records wait for the log", "paused", paused, "bytes", db.wal.now, "limit", db.cfg.Limits.WAL)
	}
	return paused
}

// tryLog commits next to nothing, a moment after a checkpoint, to see whether a
// log that was too long can start over: it does so with a write.
func (db *DB) tryLog() {
	if !db.pausedByLog() {
		return
	}
	if err := db.transaction(false, func(w *work) error { return w.c.exec(sqlPutValue, valueTried, db.cfg.Now().UnixNano()) }); err != nil {
		db.cfg.Logger.Warn("write to a long log", "err", err)
	}
}

// valueTried is a value that is never read.
const valueTried = "tried"

// program is another process.
type program struct {
	pid  int
	name string
}

func (p program) String() string { return fmt.Sprintf("process %d (%s)", p.pid, p.name) }

// Where readers of the log hold locks in its index. Source:
// https://www.sqlite.org/walformat.html#wal_locks
const (
	readLocks    = 123
	readLocksEnd = 128
)

// foreignReaders finds the other processes that read the log of the database
// at path; or, if the kernel does not tell of locks, those that have it open.
// It sees what this user may see.
func foreignReaders(path string) []program {
	pids := lockers(path + "-shm")
	if len(pids) == 0 {
		pids = openers(path + "-shm")
	}
	var out []program
	for _, pid := range pids {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			name = []byte("?")
		}
		out = append(out, program{pid, string(bytes.TrimSpace(name))})
	}
	return out
}

// lockers lists the other processes that hold a read lock of the index. A line:
//
//	12: POSIX  ADVISORY  READ 4711 fe:00:10272771 124 124
func lockers(index string) []int {
	fi, err := os.Stat(index)
	if err != nil {
		return nil
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	locks, err := os.ReadFile("/proc/locks")
	if !ok || err != nil {
		return nil
	}
	var out []int
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "POSIX" || !strings.HasSuffix(f[5], fmt.Sprintf(":%d", st.Ino)) {
			continue
		}
		pid, _ := strconv.Atoi(f[4])
		from, _ := strconv.Atoi(f[6])
		if pid > 0 && pid != os.Getpid() && from >= readLocks && from < readLocksEnd && !slices.Contains(out, pid) {
			out = append(out, pid)
		}
	}
	return out
}

// openers lists the other processes that have a file open.
func openers(path string) []int {
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil
	}
	var out []int
	for _, fd := range fds {
		pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
		if pid == os.Getpid() || slices.Contains(out, pid) {
			continue
		}
		if to, err := os.Readlink(fd); err == nil && to == path {
			out = append(out, pid)
		}
	}
	return out
}
