package global

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

var (
	longName   = strings.Repeat("n", fleet.MaxNodeName)
	longRegion = fleet.Region(strings.Repeat("r", fleet.MaxRegionName))
	topRank    = presence.Rank{
		Generation: presence.Generation{Number: 1 << 40, Bits: 1 << 63}, Stamp: 1 << 60, Reporter: fleet.Worker(longName),
	}
)

func TestTheLargestReportsStayUnderTheirCaps(t *testing.T) {
	tables := laneTables(longRegion)
	size := func(table int, row store.Row) int {
		rec, err := tables[table].Record(row, "")
		if err != nil {
			t.Fatal(err)
		}
		return len(rec.Key) + len(rec.Cells)
	}
	app := fleet.App(strings.Repeat("a", fleet.MaxAppName))
	for _, r := range []presence.Record{
		{Region: longRegion, App: app, Class: presence.MaxClass, Rank: topRank},
		{Region: longRegion, App: app, Since: 1 << 60, Rank: topRank},
	} {
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		if got := size(0, presenceRow(r)); got > presence.MaxPresence {
			t.Errorf("presence of class %d takes %d bytes, over the cap of %d", r.Class, got, presence.MaxPresence)
		}
	}
	r := presence.Region{Name: longRegion, Locality: string(longRegion), SchemaHash: 1 << 63, Rank: topRank}
	for range presence.MaxGateways {
		r.Gateways = append(r.Gateways, presence.Gateway{Node: fleet.Worker(longName), Address: strings.Repeat("h", presence.MaxAddress-6) + ":65535"})
	}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	row, err := regionRow(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := size(1, row); got > presence.MaxRegion {
		t.Errorf("a region record takes %d bytes, over the cap of %d", got, presence.MaxRegion)
	}
	back, err := regionOf(row)
	if err != nil || !back.SameContent(r) || back.Rank != r.Rank {
		t.Errorf("it came back as %v, %v", back, err)
	}
}

func TestAGlobalNodeKeepsOnlyTheFiveKindsOfRecord(t *testing.T) {
	want := map[string]bool{tablePresence: true, tableRegions: true, tableDrains: true, tableReleases: true, tableGenerations: true}
	for _, tbl := range append(laneTables("iad"), listTables()...) {
		if !want[tbl.Name] || tbl.Kind != record.Ranked {
			t.Errorf("table %s of kind %v", tbl.Name, tbl.Kind)
		}
	}
}

// What another global node sends is judged by the tables themselves: a bad
// ingress node spoils nothing.
func TestBadRowsOfAPeerAreWithheldAndTheRestIsShown(t *testing.T) {
	ctx := t.Context()
	db, err := sqlite.Open(ctx, sqlite.Config{
		Path: filepath.Join(t.TempDir(), "iad.db"), Fleet: "test", Cluster: "global", Lane: "iad", Node: "g1",
		Tables: laneTables("iad"), Durability: sqlite.OS,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	rank := presence.Rank{Generation: presence.Generation{Number: 1}, Stamp: 10, Reporter: "n"}
	top := rank
	top.Generation.Number, top.Stamp = 1<<62, 1<<62
	rows := map[string]store.Row{
		"good":          presenceRow(presence.Record{Region: "iad", App: "good", Class: 1, Rank: rank}),
		"foreign":       presenceRow(presence.Record{Region: "ams", App: "foreign", Class: 1, Rank: top}),
		"oversize":      presenceRow(presence.Record{Region: "iad", App: fleet.App(strings.Repeat("x", 64)), Class: 1, Rank: rank}),
		"class":         presenceRow(presence.Record{Region: "iad", App: "class", Class: 33, Rank: rank}),
		"both":          presenceRow(presence.Record{Region: "iad", App: "both", Class: 1, Since: 5, Rank: rank}),
		"without since": presenceRow(presence.Record{Region: "iad", App: "neither", Rank: rank}),
	}
	w := record.Writer{Node: "g2", Boot: 1, Bits: 2}
	version := record.Version(0)
	for name, row := range rows {
		version++
		if got := withheldBy(ctx, t, db, laneTables("iad")[0], row, record.Point{Writer: w, Version: version}); got != (name != "good") {
			t.Errorf("%s: withheld %v", name, got)
		}
	}
	unknown := schema.Table{Name: "fleet_machines", Kind: record.Ranked, Key: []schema.Column{text("id")}, Columns: []schema.Column{integer("n")}, RankBy: []string{"n"}}.WithIDs()
	if !withheldBy(ctx, t, db, unknown, store.Row{record.Of("m"), record.Of(1)}, record.Point{Writer: w, Version: version + 1}) {
		t.Error("a table that global does not have was shown")
	}
	shown := 0
	snap, err := db.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = snap.Close() }()
	err = snap.Scan(tablePresence, nil, func(store.Row, record.Point, int64) error { shown++; return nil })
	if err != nil || shown != 1 {
		t.Errorf("%d rows shown, want 1 (%v)", shown, err)
	}
}

func withheldBy(ctx context.Context, t *testing.T, db store.Store, table schema.Table, row store.Row, p record.Point) bool {
	t.Helper()
	rec, err := table.Record(row, "")
	if err != nil {
		t.Fatal(err)
	}
	out, err := db.Apply(ctx, []record.Delivery{record.Pushed(record.Changeset{Writer: p.Writer, Version: p.Version, Records: []record.Record{rec}})})
	if err != nil || len(out) != 1 || out[0].Status != store.Applied {
		t.Fatalf("apply %v: %v, %v", p, out, err)
	}
	return out[0].Withheld == 1
}

func TestQuestionsFindTheirLane(t *testing.T) {
	for _, lane := range []string{"", "iad"} {
		got, q, err := splitQuestion(joinQuestion(lane, []byte("what")))
		if got != lane || string(q) != "what" || err != nil {
			t.Errorf("lane %q came out as %q, %q, %v", lane, got, q, err)
		}
	}
	for _, bad := range []string{"", "\x02", "\x02\x05iad", "\x01\x00x"} {
		if _, _, err := splitQuestion([]byte(bad)); err == nil {
			t.Errorf("%q is a question", bad)
		}
	}
}
