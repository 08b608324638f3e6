package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
)

func TestSecondOpenIsRefusedByPid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{})
	_, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{}))
	if !errors.Is(err, sqlite.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), path) {
		t.Errorf("second open: %v", err)
	}
	put(t, db, machine("w1", "m", "web"))
}

func TestForeignFileIsRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{})
	put(t, db, machine("w1", "m", "web"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*sqlite.Config){
		`node "w1", wanted "w2"`:            func(c *sqlite.Config) { c.Node = "w2" },
		`fleet "test", wanted "other"`:      func(c *sqlite.Config) { c.Fleet = "other" },
		`"region/iad", wanted "region/ams"`: func(c *sqlite.Config) { c.Cluster = "region/ams" },
		`lane "", wanted "iad"`:             func(c *sqlite.Config) { c.Lane = "iad" },
		"column app, the schema has not": func(c *sqlite.Config) {
			c.Tables = changed(c.Tables, func(t *schema.Table) { t.Columns = t.Columns[1:] })
		},
		"at is TIMESTAMP in the file and TEXT": func(c *sqlite.Config) {
			c.Tables = changed(c.Tables, func(t *schema.Table) { t.Columns[1].Type = "TEXT" })
		},
	} {
		cfg := config(t, path, sqlite.Config{})
		change(&cfg)
		if _, err := sqlite.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	db = openAt(t, path, sqlite.Config{})
	if got := query(t, db, "SELECT id FROM machines"); len(got) != 1 {
		t.Errorf("after the refusals: %v", got)
	}
}

// changed returns tables with a change to the first.
func changed(in []schema.Table, fn func(*schema.Table)) []schema.Table {
	out := append([]schema.Table(nil), in...)
	out[0].Columns = append([]schema.Column(nil), out[0].Columns...)
	fn(&out[0])
	return out
}

func TestDamagedFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.db")
	db := openAt(t, whole, sqlite.Config{})
	for i := range 50 {
		put(t, db, machine("w1", fmt.Sprint("m", i), strings.Repeat("x", 1000)))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if len(good) < 100_000 {
		t.Fatalf("the log was not moved into the file at close: %d bytes", len(good))
	}
	for name, content := range map[string][]byte{
		"text":      []byte(strings.Repeat("this is no database\n", 300)),
		"garbage":   append(append([]byte{}, good[:4096]...), bytes.Repeat([]byte{0xaa}, len(good)-4096)...),
		"truncated": good[:len(good)/2],
	} {
		path := filepath.Join(dir, name+".db")
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{}))
		if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := filepath.Join(dir, "other.db")
	p, err := plain.Open(other, plain.Config{})
	if err == nil {
		err = errors.Join(p.Script("CREATE TABLE things (id)"), p.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), config(t, other, sqlite.Config{})); !errors.Is(err, sqlite.ErrForeign) {
		t.Errorf("another program's database: %v", err)
	}
	if _, err := sqlite.Open(t.Context(), config(t, filepath.Join(dir, "no", "node.db"), sqlite.Config{})); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	_, err := sqlite.Open(t.Context(), sqlite.Config{Tables: []schema.Table{{Name: "_fb_x", Kind: record.Owned}}})
	for _, want := range []string{"path is empty", "fleet is empty", "cluster is empty", "node is empty", `"_fb_x" is reserved`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestBootBeyondTwoYearsIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	db := openAt(t, path, sqlite.Config{Now: func() time.Time { return time.Now().Add(3 * 365 * 24 * time.Hour) }})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(t.Context(), config(t, path, sqlite.Config{}))
	if err == nil || !strings.Contains(err.Error(), "beyond two years from now") {
		t.Errorf("open after a clock three years ahead: %v", err)
	}
	db = openAt(t, filepath.Join(t.TempDir(), "node.db"), sqlite.Config{})
	far := uint64(time.Now().Add(3 * 365 * 24 * time.Hour).Unix())
	out := apply(t, db, pushed(record.Writer{Node: "w2", Boot: far, Bits: 1}, 1, machineRecord("w2", "m", "web")))
	if out[0].Status != store.Rejected {
		t.Errorf("a peer's boot three years ahead: %+v", out[0])
	}
	if _, err := db.Renew(t.Context(), far); err == nil {
		t.Error("renewed with a boot three years ahead")
	}
}

// A table or column that comes later takes up what was kept for it.
func TestSchemaThatArrivesReleasesWhatWasKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	full := tables(t)
	withColumn := changed(full, func(t *schema.Table) {
		t.Columns = append(t.Columns, schema.Column{Name: "image", Type: "TEXT"})
		*t = t.WithIDs()
	})
	small := []schema.Table{full[0]}
	db := openAt(t, path, sqlite.Config{Tables: small})
	w := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	rec := recordOf(withColumn[0], append(machine("w2", "m", "web"), record.Of("img:1")), "")
	grant := recordOf(full[2], store.Row{record.Of("m"), record.Of(3), record.Of("w2")}, "")
	if out := apply(t, db, pushed(w, 1, rec, grant)); out[0].Withheld != 1 {
		t.Errorf("outcome %+v", out[0])
	}
	before := deliverAll(t, db, w)
	prints := states(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, sqlite.Config{Tables: withColumn})
	if got := query(t, db, "SELECT image FROM machines"); len(got) != 1 || got[0][0].Data != "img:1" {
		t.Errorf("the cell of the new column is %v", got)
	}
	if got := query(t, db, "SELECT epoch FROM grants"); len(got) != 1 {
		t.Errorf("the record of the new table is %v", got)
	}
	if got := withheld(t, db); len(got) != 0 {
		t.Errorf("still withheld: %v", got)
	}
	same(t, "deliveries", before, deliverAll(t, db, w))
	same(t, "states", prints, states(t, db))
}
