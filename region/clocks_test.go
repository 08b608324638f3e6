package region_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

func (n *node) exec(sql string) error {
	_, err := n.daemon.Exec(within(n.t, 10*time.Second), &regionv1.ExecRequest{Statements: []*regionv1.Statement{{Sql: sql}}}, grpc.WaitForReady(true))
	return err
}

func (n *node) alarmed(about string) bool {
	return strings.Contains(strings.Join(n.status().GetAlarms(), "\n"), about)
}

// A node that comes up with a clock a year ahead writes a shared row, alone, and
// meets its peers. From then on it writes none; its owned rows go everywhere.
// Once the clock is right and reset, all write that row again, and nobody has
// to wait for the year.
func TestNodeAYearAheadWritesAgainOnceItsClockIsReset(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.schema = filepath.Join(c.dir, "schema")
	if err := os.MkdirAll(c.schema, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.schema, "a.sql"), []byte("CREATE TABLE flags (name TEXT NOT NULL PRIMARY KEY, v TEXT)"), 0o600); err != nil {
		t.Fatal(err)
	}
	var skew atomic.Int64
	skew.Store(int64(365 * 24 * time.Hour))
	c.now = map[string]func() time.Time{"w1": func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }}
	bad := c.start("w1")
	c.seeds = []string{bad.addr.Gossip}
	if err := bad.exec("INSERT INTO flags VALUES ('x', 'from the future')"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"w2", "w3", "w4"} {
		c.start(name)
	}
	c.together()
	eventually(t, "its shared writes are refused", func() bool {
		err := bad.exec("UPDATE flags SET v = v || '.'")
		return status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "ahead of the median of 3 peers")
	})
	if !bad.alarmed("ahead of the median") {
		t.Errorf("alarms %q", bad.status().GetAlarms())
	}
	other := c.nodes["w2"]
	bad.publish(mach("m1", "web"))
	eventually(t, "its owned rows go to others", func() bool { return has(other, "m1") })
	eventually(t, "what it has stamped is withheld", func() bool { return other.status().GetWithheld() == 1 })
	admin := adminv1.NewAdminServiceClient(bad.conns[0])
	if _, err := admin.ResetClock(within(t, 5*time.Second), &adminv1.ResetClockRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a reset by a wrong clock: %v", err)
	}

	skew.Store(0)
	eventually(t, "the clock is reset", func() bool {
		r, err := admin.ResetClock(within(t, 5*time.Second), &adminv1.ResetClockRequest{})
		return err == nil && r.GetAgain() == 1
	})
	value := func(n *node) string {
		rows, _, err := n.query("SELECT v FROM flags WHERE name = 'x'")
		if err != nil || len(rows) != 1 {
			return ""
		}
		return rows[0][0]
	}
	eventually(t, "others see the row", func() bool { return strings.HasPrefix(value(other), "from the future") })
	if err := bad.exec("UPDATE flags SET v = 'from now'"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "others see its next write", func() bool { return value(other) == "from now" })
	if err := other.exec("UPDATE flags SET v = 'by another'"); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		eventually(t, n.name+" sees what another writes", func() bool { return value(n) == "by another" })
		eventually(t, n.name+" withholds nothing and has no alarm of clocks", func() bool {
			return n.status().GetWithheld() == 0 && !n.alarmed("clock")
		})
	}
}
