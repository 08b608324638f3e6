package e2e

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// A change of schema in one region, and what is written to its tables, does
// nothing in another: no schema work, no row, no record withheld.
func TestSchemaOfARegionStaysInIt(t *testing.T) {
	w := newWorld(t, map[string]int{"iad": 2, "fra": 2})
	clients := map[string]regionv1.RegionServiceClient{}
	for name, cfg := range w.config {
		clients[name] = regionv1.NewRegionServiceClient(w.dial(cfg.GRPC))
	}
	before := map[string]string{}
	for name, c := range clients {
		st, err := c.SchemaStatus(t.Context(), &regionv1.SchemaStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		before[name] = st.GetReceived() + " " + st.GetEffect()
	}
	var iad, fra []string
	for name := range clients {
		if name[:3] == "iad" {
			iad = append(iad, name)
		} else {
			fra = append(fra, name)
		}
	}
	files := []*regionv1.SchemaFile{{Name: "a.sql", Sql: "CREATE TABLE notes (k TEXT NOT NULL PRIMARY KEY, n INTEGER);"}}
	if _, err := clients[iad[0]].ApplySchema(t.Context(), &regionv1.ApplySchemaRequest{Files: files}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if _, err := clients[iad[0]].Exec(t.Context(), &regionv1.ExecRequest{Statements: []*regionv1.Statement{{Sql: fmt.Sprintf("INSERT INTO notes VALUES ('k%d', %d)", i, i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	count := func(ctx context.Context, node string) (rows string, err error) {
		stream, err := clients[node].Query(ctx, &regionv1.QueryRequest{Sql: "SELECT count(*) FROM notes"})
		for err == nil {
			var res *regionv1.QueryResponse
			if res, err = stream.Recv(); err == nil && len(res.GetRows()) > 0 {
				return fmt.Sprint(res.GetRows()[0].GetValues()[0].GetInteger()), nil
			}
		}
		return "", err
	}
	for _, node := range iad { // the positive control
		w.until("all rows of the new table at "+node, func(ctx context.Context) error {
			if n, err := count(ctx, node); err != nil || n != "10" {
				return fmt.Errorf("%s rows: %w", n, err)
			}
			return nil
		})
	}
	for _, node := range fra {
		st, err := clients[node].SchemaStatus(t.Context(), &regionv1.SchemaStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if got := st.GetReceived() + " " + st.GetEffect(); got != before[node] || st.GetWithheld() != 0 || len(st.GetPending()) != 0 {
			t.Errorf("%s: schema %s, was %s; %d withheld, pending %v", node, got, before[node], st.GetWithheld(), st.GetPending())
		}
		if n, err := count(t.Context(), node); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s knows the table of another region: %s rows, %v", node, n, err)
		}
	}
}
