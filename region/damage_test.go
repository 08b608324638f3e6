package region_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A node whose file went bad says so, keeps it, starts empty under a new
// writer, and gets everything from its peers, its own rows too. Nothing of the
// bad file reaches them.
func TestDamagedNodeStartsEmptyAndIsFilledByItsPeers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "w1", "w2", "w3")
	c.together()
	for _, n := range c.nodes {
		for i := range 30 {
			n.publish(mach(fmt.Sprintf("%s-m%d", n.name, i), "web"))
		}
	}
	const all = `SELECT worker, id, app FROM fleet_machines ORDER BY worker, id`
	whole := func(n *node) func() bool {
		return func() bool { rows, _, err := n.query(all); return err == nil && len(rows) == 90 }
	}
	for _, n := range c.nodes {
		eventually(t, n.name+" has all", whole(n))
	}
	want, _, err := c.nodes["w1"].query(all)
	if err != nil {
		t.Fatal(err)
	}
	old := c.nodes["w2"].addr
	c.nodes["w2"].stop()
	b, err := os.ReadFile(old.DB)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i++ {
		b[i] ^= byte(i >> 3)
	}
	if err := os.WriteFile(old.DB, b, 0o600); err != nil {
		t.Fatal(err)
	}

	again := c.start("w2")
	if kept, err := filepath.Glob(old.DB + ".aside-*Z"); err != nil || len(kept) != 1 {
		t.Errorf("kept: %v, %v", kept, err)
	}
	if again.addr.Bits == old.Bits {
		t.Error("the node writes as the writer whose file went bad")
	}
	for _, n := range c.nodes {
		eventually(t, n.name+" has all", whole(n))
		got, _, err := n.query(all)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s, %v (-want +got):\n%s", n.name, err, diff)
		}
	}
	eventually(t, "all have the same", func() bool {
		root := c.nodes["w1"].status().GetRoot()
		return root == c.nodes["w2"].status().GetRoot() && root == c.nodes["w3"].status().GetRoot()
	})
	again.publish(mach("later", "web"))
	eventually(t, "w3 has what it writes now", func() bool { return has(c.nodes["w3"], "later") })
}

func has(n *node, id string) bool {
	rows, _, err := n.query(`SELECT id FROM fleet_machines WHERE id = '` + id + `'`)
	return err == nil && len(rows) == 1
}
