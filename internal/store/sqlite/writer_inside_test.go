package sqlite

import (
	"bytes"
	"errors"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// FuzzOwnState reads any bytes as the state in a row of the feed: what is read
// comes out as it was written, everything else is refused as damage.
func FuzzOwnState(f *testing.F) {
	w := &writerState{id: 3, recv: record.Received{Head: 9}, floors: [len(record.Kinds)]record.Version{1, 0, 300}}
	w.prints[0] = record.Fingerprint{Hi: 1 << 63, Lo: 7}
	whole := appendState(appendInteger(nil, w.id), w)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(bytes.Clone(whole), 0))
	f.Add(appendState(appendInteger(nil, 0), w))
	f.Add(appendState(nil, w))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, vals, err := cutOwn(string(b))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("refused as %v", err)
			}
			return
		}
		var got, again writerState
		if got.read(vals) != nil {
			return
		}
		_, vals, err = cutOwn(string(appendState(appendInteger(nil, id), &got)))
		if err == nil {
			err = again.read(vals)
		}
		if err != nil || again.prints != got.prints || again.floors != got.floors || again.recv.Head != got.recv.Head {
			t.Errorf("read %+v, and after it was written %+v: %v", got, again, err)
		}
	})
}

// What changes this node's own writer without an entry of the feed is kept too.
func TestOwnStateIsKeptWithoutAnEntry(t *testing.T) {
	db := openInside(t, Config{Durability: OS})
	if err := db.putRow(t, bigRow("w1", 1)); err != nil {
		t.Fatal(err)
	}
	err := db.do(t.Context(), func(w *work) error {
		w.st.change(w.st.self).floors[0] = 1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var now store.WriterState
	for _, w := range statesOf(t, db) {
		if w.Writer == db.Writer() {
			now = w
		}
	}
	if now.Floors[0] != 1 || now.Received.Head != 1 {
		t.Errorf("the disk says %+v", now)
	}
}
