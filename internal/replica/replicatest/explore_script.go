package replicatest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// RunDeletesScript runs a life whose steps are given, one a line, for what
// chance seldom comes to:
//
//	NODE writes ID, NODE deletes ID   a shared row
//	NODE hears NODE                   is pushed all that its present start wrote
//	NODE pulls NODE
//	NODE restarts, NODE closes, NODE collects
//	NODE evicts NODE                  up to the highest boot that it knows
//	days N
//
// Then it ends and is judged as a random one is.
func RunDeletesScript(cfg DeletesConfig, script string) error {
	d := newDeletes(cfg)
	for range cfg.Nodes {
		d.add()
	}
	for line := range strings.Lines(script) {
		if f := strings.Fields(line); len(f) > 0 {
			d.do(f)
			d.now += time.Second
		}
	}
	d.finish()
	return d.err
}

func (d *Deletes) do(f []string) {
	if f[0] == "days" {
		var n int
		_, err := fmt.Sscan(f[1], &n)
		d.must(err)
		d.now += time.Duration(n) * 24 * time.Hour
		return
	}
	m := d.member(record.Node(f[0]))
	arg := ""
	if len(f) > 2 {
		arg = f[2]
	}
	switch f[1] {
	case "writes", "deletes":
		d.write(m, record.Shared, arg, f[1] == "deletes")
	case "hears":
		for _, c := range d.commits {
			if c.Writer == d.member(record.Node(arg)).st.Writer() {
				d.apply(m, record.Pushed(c))
			}
		}
	case "pulls":
		d.pull(m, d.member(record.Node(arg)), true)
	case "restarts":
		d.must(m.st.Close())
		d.end(m)
		d.start(m)
	case "closes":
		for range 20 {
			d.closing(m)
		}
	case "collects":
		d.collect(m, 100)
	case "evicts":
		d.evictKnown(m, record.Node(arg))
	default:
		d.fail("script: %v", f)
	}
}

// evictKnown has m evict a node up to the highest boot that it knows of it.
func (d *Deletes) evictKnown(m *member, n record.Node) {
	boot := uint64(0)
	for _, w := range d.view(m).writers {
		if w.Writer.Node == n {
			boot = max(boot, w.Writer.Boot)
		}
	}
	if boot == 0 {
		return
	}
	_, err := m.st.Update(context.Background(), func(tx store.Tx) error {
		return tx.Put(Evicting, store.Row{record.Of(string(n)), record.Of(int64(boot))})
	})
	if err == nil && d.learn(m) {
		d.Hits.Evicted++
	}
}
