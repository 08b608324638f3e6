package cli_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/internal/admin"
	"github.com/firebreak-dev/firebreak/internal/control"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite/plain"
	adminpb "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

// held is a node that withholds one record, and how to call it.
func held(t *testing.T) (path string, flags []string) {
	t.Helper()
	f := newFleet(t)
	path = filepath.Join(t.TempDir(), "node.db")
	tables, err := sqlite.ParseSQL("-- firebreak: owned by worker\nCREATE TABLE jobs (worker TEXT NOT NULL, id TEXT NOT NULL, app TEXT NOT NULL DEFAULT '' CHECK (app <> 'bad'), PRIMARY KEY (worker, id))")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Fleet: "acme", Cluster: "region/iad", Node: "w1", Tables: tables})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	var recs []record.Record
	for _, app := range []string{"bad", "web"} {
		r, err := tables[0].Record(store.Row{record.Of("w2"), record.Of("id-" + app), record.Of(app)}, "")
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, r)
	}
	w := record.Writer{Node: "w2", Boot: 5, Bits: 1}
	if _, err := db.Apply(t.Context(), []record.Delivery{record.Pushed(record.Changeset{Writer: w, Version: 1, Records: recs})}); err != nil {
		t.Fatal(err)
	}
	switches, err := control.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	addr := f.serve(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"}, func(s grpc.ServiceRegistrar) {
		adminpb.RegisterAdminServiceServer(s, admin.NewService(admin.Info{}, switches).Over(func() []admin.Lane { return []admin.Lane{{Records: db}} }))
	})
	return path, append([]string{"--node", addr}, f.as(identity.Operator)...)
}

func TestWithheldRecordsAreListedShownReleasedAndDiscarded(t *testing.T) {
	_, flags := held(t)
	withheld := func(args string) outcome { return run(t, "", words("withheld "+args, flags...)...) }
	var list struct {
		Withheld []struct{ Table, Key, Point, Hash, Reason, Detail string }
	}
	got := withheld("list -o json")
	if err := json.Unmarshal([]byte(got.out), &list); err != nil || len(list.Withheld) != 1 {
		t.Fatalf("list: %v, %v", got, err)
	}
	w := list.Withheld[0]
	if w.Table != "jobs" || w.Reason != "constraint" || !strings.HasPrefix(w.Point, "w2/5/") || !strings.Contains(w.Key, "id-bad") || !strings.Contains(w.Detail, "CHECK") {
		t.Errorf("listed %+v", w)
	}
	if got := withheld("list"); got.code != 0 || !strings.Contains(got.out, w.Hash) {
		t.Errorf("as a table: %v", got)
	}
	if got := withheld("show " + w.Hash + " -o json"); got.code != 0 || !strings.Contains(got.out, `"app":"`) {
		t.Errorf("show: %v", got)
	}
	if got := withheld("release " + w.Hash); got.code != 1 || !strings.Contains(got.err, "CHECK") {
		t.Errorf("release of what is still refused: %v", got)
	}
	if got := withheld("discard " + w.Hash); got.code != 0 {
		t.Errorf("discard: %v", got)
	}
	if got := withheld("list -o ndjson"); got.code != 0 || !strings.Contains(got.out, `"stub":true`) {
		t.Errorf("after the discard: %v", got)
	}
	if got := withheld("show " + strings.Repeat("0", 32)); got.code != 3 {
		t.Errorf("an unknown hash: %v", got)
	}
	if got := withheld("show x"); got.code != 2 {
		t.Errorf("no hash: %v", got)
	}
	if got := run(t, "", "withheld", "list"); got.code != 2 {
		t.Errorf("nobody to ask: %v", got)
	}
}

func TestVerifyNamesDamageAndFails(t *testing.T) {
	path, flags := held(t)
	if got := run(t, "", words("node verify -o json", flags...)...); got.code != 0 || !strings.Contains(got.out, `"sound":true`) {
		t.Errorf("a sound node: %v", got)
	}
	raw, err := plain.Open(path, plain.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := raw.Script("UPDATE _fb_rows_jobs SET _fb_wall = 1, _fb_hash = zeroblob(16)"); err != nil {
		t.Fatal(err)
	}
	got := run(t, "", words("node verify -o json", flags...)...)
	if got.code != 1 || !strings.Contains(got.out, `"table":"jobs"`) || !strings.Contains(got.out, "id-web") {
		t.Errorf("a damaged node: %v", got)
	}
	if got := run(t, "", words("node verify", flags...)...); got.code != 1 || !strings.Contains(got.out, "hashes to") {
		t.Errorf("as a table: %v", got)
	}
}
