package region_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/identity"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region"
)

func schemaFile(sql string) []*regionv1.SchemaFile {
	return []*regionv1.SchemaFile{{Name: "a.sql", Sql: sql}}
}

func TestSchemaAppliedAtOneNodeReachesTheRegion(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2")
	c.together()
	ctx := within(t, 30*time.Second)
	const sql = "CREATE TABLE flags (name TEXT NOT NULL PRIMARY KEY, v TEXT)"
	one := c.nodes["w1"]
	plan, err := one.daemon.PlanSchema(ctx, &regionv1.PlanSchemaRequest{Files: schemaFile(sql)})
	if err != nil || len(plan.GetPlan().GetSteps()) != 1 {
		t.Fatalf("plan %v, %v", plan, err)
	}
	if _, err := one.daemon.ApplySchema(ctx, &regionv1.ApplySchemaRequest{Files: schemaFile(sql), Hash: "0"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("another hash: %v", err)
	}
	if _, err := one.daemon.ApplySchema(ctx, &regionv1.ApplySchemaRequest{Files: schemaFile(sql), Hash: plan.GetPlan().GetHash(), Who: "ann"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other node has the table", func() bool {
		a, err := one.daemon.SchemaStatus(ctx, &regionv1.SchemaStatusRequest{})
		b, err2 := c.nodes["w2"].daemon.SchemaStatus(ctx, &regionv1.SchemaStatusRequest{})
		return err == nil && err2 == nil && a.GetEffect() == b.GetEffect() && len(b.GetTables()) == 1
	})
	h, err := c.nodes["w2"].daemon.SchemaHistory(ctx, &regionv1.SchemaHistoryRequest{})
	if err != nil || len(h.GetChanges()) != 2 || h.GetChanges()[0].GetWho() != "ann" || h.GetChanges()[0].GetNode() != "w1" {
		t.Errorf("history %v, %v", h, err)
	}
	_, err = one.daemon.ApplySchema(ctx, &regionv1.ApplySchemaRequest{Files: schemaFile(strings.Replace(sql, "v TEXT", "v INTEGER", 1))})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "column-change") {
		t.Errorf("a refused change: %v", err)
	}
	client := one.dial(identity.ID{Fleet: "acme", Role: identity.Client, Name: "reader"})
	if _, err := client.ApplySchema(ctx, &regionv1.ApplySchemaRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a reader applies: %v", err)
	}
}

func TestSchemaFilesAreFollowed(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.schema = t.TempDir()
	write := func(sql string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(c.schema, "a.sql"), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("CREATE TABLE good (id TEXT NOT NULL PRIMARY KEY);\nCREATE TABLE bad (id TEXT PRIMARY KEY);\nINSERT INTO good VALUES ('a');")
	_, err := region.New(t.Context(), c.config("w1"))
	for _, want := range []string{"a.sql", "line 2", "table bad", "nullable-key", "line 3", "INSERT"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start with bad files: %v, want %q in it", err, want)
		}
	}
	write("CREATE TABLE good (id TEXT NOT NULL PRIMARY KEY);")
	n := c.start("w1")
	look := func(want func(*regionv1.SchemaStatusResponse) bool) func() bool {
		return func() bool {
			s, err := n.daemon.SchemaStatus(within(t, 10*time.Second), &regionv1.SchemaStatusRequest{})
			return err == nil && want(s)
		}
	}
	eventually(t, "the table is there", look(func(s *regionv1.SchemaStatusResponse) bool { return len(s.GetTables()) == 1 && s.GetRefused() == "" }))
	write("CREATE TABLE good (id TEXT NOT NULL PRIMARY KEY);\nCREATE TABLE more (id TEXT PRIMARY KEY);")
	eventually(t, "the refusal is in status", look(func(s *regionv1.SchemaStatusResponse) bool {
		return len(s.GetTables()) == 1 && strings.Contains(s.GetRefused(), "line 2")
	}))
	write("CREATE TABLE good (id TEXT NOT NULL PRIMARY KEY, v TEXT);\nCREATE TABLE more (id TEXT NOT NULL PRIMARY KEY);")
	eventually(t, "what is mended is loaded", look(func(s *regionv1.SchemaStatusResponse) bool { return len(s.GetTables()) == 2 && s.GetRefused() == "" }))
}
