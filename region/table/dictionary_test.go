package table

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/replica"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
)

var rewrite = flag.Bool("rewrite", false, "write the newest dictionary anew; only before its number was ever used")

// dictionarySums hold the bytes of each number: frames that were packed with
// them can be read with these and no others.
var dictionarySums = []string{
	"e98ed8660414411e914b31ea248a1edcf71299383d820f17fb399b89375dc552",
	"000aa7e9a1f75b6156aa4adb9434b05a7740e131e8aeffe5a73c008fe67af580",
}

func TestDictionariesAreNeverChanged(t *testing.T) {
	if *rewrite {
		if err := os.WriteFile("dictionary2.bin", sample(t), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Skip("written anew; build again")
	}
	all := Dictionaries()
	if len(all) != len(dictionarySums) {
		t.Fatalf("%d dictionaries, %d sums", len(all), len(dictionarySums))
	}
	for i, d := range all {
		sum := sha256.Sum256(d.Bytes)
		if got := hex.EncodeToString(sum[:]); got != dictionarySums[i] || d.Number != uint32(i+1) {
			t.Errorf("dictionary %d has sum %s, want %s: other bytes are another number", d.Number, got, dictionarySums[i])
		}
	}
	if _, err := replica.NewPacking(all...); err != nil {
		t.Error(err)
	}
}

// It is of use only while rows are encoded as in it: a column that it lacks
// costs 8 bytes in each push.
func TestDictionaryHoldsTheIDsOfTheTables(t *testing.T) {
	all := Dictionaries()
	newest := all[len(all)-1].Bytes
	for _, tab := range []schema.Table{byName(t, Machines), byName(t, Health), byName(t, Probe)} {
		id := record.AppendCell(nil, record.Cell{Column: record.ColumnID(tab.ID)})[:8]
		if !bytes.Contains(newest, id) {
			t.Errorf("the dictionary lacks the id of %s", tab.Name)
		}
	}
	for _, c := range byName(t, Machines).Columns {
		if id := record.AppendCell(nil, record.Cell{Column: c.ID})[:8]; !bytes.Contains(newest, id) {
			t.Errorf("the dictionary lacks the column %s of machines", c.Name)
		}
	}
}

func byName(t *testing.T, name string) schema.Table {
	t.Helper()
	for _, tab := range All() {
		if tab.Name == name {
			return tab
		}
	}
	t.Fatalf("no table %s", name)
	return schema.Table{}
}

// sample makes the dictionary: a few deliveries, what is most frequent last.
func sample(t *testing.T) []byte {
	w := record.Writer{Node: "host-0000", Boot: 1_780_000_000}
	var out []byte
	add := func(table string, row store.Row) {
		r, err := byName(t, table).Record(row, "")
		if err != nil {
			t.Fatal(err)
		}
		out = record.AppendDelivery(out, record.Pushed(record.Changeset{Writer: w, Version: 1, Wall: 1_780_000_000_000, Records: []record.Record{r}}))
	}
	machine := Machine{
		Worker: "host-0000", ID: "m0000000", App: "app-00000", Services: []Service{{Name: "https", Port: 443, Protocol: "tcp"}, {Name: "http", Port: 8080}},
		Addresses: []string{"10.0.0.1", "fdaa:0:0:0::3"}, Image: "registry/app-00000@sha256:000000000000",
		Resources: `{"cpu_kind":"shared","cpus":1,"memory_mb":256}`, Metadata: `{"release":1}`, Epoch: 1, Why: claim.WhyMoved, Grant: 1_780_000_000_000, MovedTo: "host-0001",
	}
	add(Probe, store.Row{record.Of("host-0000"), record.Of(1_780_000_000_000)})
	for _, s := range []claim.Health{claim.Failing, claim.Passing} {
		add(Health, HealthRow{Worker: "host-0000", ID: "m0000000", Status: s, Since: 1_780_000_000_000}.Row())
	}
	for i, s := range []claim.State{claim.Starting, claim.Starting, claim.Stopping, claim.Started} {
		if i == 1 {
			machine.Why, machine.Grant, machine.MovedTo = 0, 0, ""
		}
		if i == 2 {
			machine.Services = []Service{{Name: "http", Port: 18080}}
			machine.Addresses = []string{"fdaa:0:0:0000::3"}
			machine.Image = "registry/app-00000@000000000000"
			machine.Resources, machine.Metadata = `{"cpus":1,"memory_mb":256}`, `{"release":100}`
			machine.Epoch = 100
		}
		machine.State = s
		add(Machines, machine.Row())
	}
	return out
}
