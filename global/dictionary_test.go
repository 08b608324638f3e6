package global

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

var rewrite = flag.Bool("rewrite", false, "write the newest dictionary anew; only before its number was ever used")

// dictionarySums hold the bytes of each number: frames that were packed with
// them can be read with these and no others.
var dictionarySums = []string{"fe93b23dbe2c8ab98822473863ada34f870791080bf254ff81ef93a3368157c4"}

func TestDictionariesAreNeverChanged(t *testing.T) {
	if *rewrite {
		if err := os.WriteFile("dictionary1.bin", sample(t), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Skip("written anew; build again")
	}
	all := dictionaries()
	if len(all) != len(dictionarySums) {
		t.Fatalf("%d dictionaries, %d sums", len(all), len(dictionarySums))
	}
	for i, d := range all {
		sum := sha256.Sum256(d.Bytes)
		if got := hex.EncodeToString(sum[:]); got != dictionarySums[i] || d.Number != uint32(i+1) {
			t.Errorf("dictionary %d has sum %s, want %s: other bytes are another number", d.Number, got, dictionarySums[i])
		}
	}
}

// It is of use only while rows are encoded as in it: a column that it lacks
// costs 8 bytes in each push.
func TestDictionaryHoldsTheIDsOfThePresence(t *testing.T) {
	all := dictionaries()
	newest := all[len(all)-1].Bytes
	table := laneTables("ams")[0]
	ids := []record.ColumnID{record.ColumnID(table.ID)}
	for _, c := range table.Columns {
		ids = append(ids, c.ID)
	}
	for _, id := range ids {
		if b := record.AppendCell(nil, record.Cell{Column: id})[:8]; !bytes.Contains(newest, b) {
			t.Errorf("the dictionary lacks the id %x", b)
		}
	}
}

// A report of one app of a region that the dictionary has never heard of.
func TestReportsArePackedToTwoThirds(t *testing.T) {
	packing, err := replica.NewPacking(dictionaries()...)
	if err != nil {
		t.Fatal(err)
	}
	row := presenceRow(presence.Record{Region: "ams", App: "shop-front", Class: 5, Rank: presence.Rank{
		Generation: presence.Generation{Number: 3, Bits: 0x77aa}, Stamp: 1_791_234_567_890, Reporter: "worker-17",
	}})
	w := record.Writer{Node: "g2", Boot: 1_791_000_000, Bits: 0x1234567}
	d := changesetOf(t, laneTables("ams")[0], row, w, 4711)
	plain := append(binary.AppendUvarint([]byte{1}, uint64(len(d))), d...)
	packed := packing.Push(plain)
	if 3*len(packed) > 2*len(plain) {
		t.Errorf("%d bytes are packed to %d", len(plain), len(packed))
	}
	c := replica.New(replica.Config{Packing: packing}, record.Writer{Node: "g1", Boot: 10, Bits: 1}, nil, 0, time.Unix(2_000_000_000, 0))
	c.Step(0, replica.Connected{Peer: "g2"})
	c.Step(0, replica.Arrived{From: "g2", Frame: packed})
	if got := c.Ready().Apply; len(got) != 1 || got[0].Range.From != 4711 {
		t.Errorf("a packed report gives %d deliveries", len(got))
	}
}

func changesetOf(t *testing.T, table schema.Table, row store.Row, w record.Writer, v record.Version) []byte {
	t.Helper()
	r, err := table.Record(row, "")
	if err != nil {
		t.Fatal(err)
	}
	return record.AppendDelivery(nil, record.Pushed(record.Changeset{Writer: w, Version: v, Wall: 1_780_000_000_000, Records: []record.Record{r}}))
}

// sample makes the dictionary: a delivery of each kind, what is most frequent
// last.
func sample(t *testing.T) (out []byte) {
	const region = fleet.Region("reg")
	w := record.Writer{Node: "g0", Boot: 1_780_000_000}
	rank := presence.Rank{Generation: presence.Generation{Number: 1, Bits: 0xdeadbeef}, Stamp: 1_780_000_000_000, Reporter: "host-0000"}
	r, err := regionRow(presence.Region{Name: region, Rank: rank})
	if err != nil {
		t.Fatal(err)
	}
	tables := laneTables(region)
	out = append(out, changesetOf(t, tables[1], r, w, 1)...)
	for _, p := range []presence.Record{
		{App: fleet.App(strings.Repeat("app-", 3)), Since: int64(rank.Stamp)},
		{App: "app-00000", Class: 2},
		{App: "app-00000", Class: 1},
	} {
		p.Region, p.Rank = region, rank
		out = append(out, changesetOf(t, tables[0], presenceRow(p), w, 1)...)
	}
	return out
}
