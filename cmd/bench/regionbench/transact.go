package regionbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/firebreak-dev/firebreak/cmd/bench/row"
	"github.com/firebreak-dev/firebreak/cmd/bench/world"
	"github.com/firebreak-dev/firebreak/internal/bench"
	"github.com/firebreak-dev/firebreak/internal/bench/result"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/mesh/quic"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	"github.com/firebreak-dev/firebreak/region"
)

// itemsSQL is a table as users of /v1 have one.
const itemsSQL = `CREATE TABLE items (id TEXT NOT NULL PRIMARY KEY, app TEXT NOT NULL DEFAULT '', n INTEGER, note TEXT);`

const (
	writers   = 16  // clients that write at once
	ownItems  = 100 // rows of each
	writeEach = 50  // operations come in such numbers, so that all clients have some
)

// web is one region whose nodes serve HTTP, and clients of it.
type web struct {
	*world.World
	addrs []string // of the nodes' HTTP listeners
	seed  string   // gossip address of the first
	pool  *http.Client
	n     int // writes so far
}

// newWeb starts nodes on tmpfs.
func newWeb(ctx context.Context, dir string, nodes int) (_ *web, err error) {
	base, err := world.New(dir)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * writers}
	w := &web{World: base, pool: &http.Client{Transport: transport}}
	defer func() {
		if err != nil {
			err = errors.Join(err, base.Close())
		}
	}()
	schema, err := base.Dir("schema")
	if err == nil {
		err = os.WriteFile(filepath.Join(schema, "items.sql"), []byte(itemsSQL), 0o600)
	}
	for i := 0; i < nodes && err == nil; i++ {
		err = w.start(ctx, i+1, schema)
	}
	if err != nil {
		return nil, err
	}
	base.Until(func() error { transport.CloseIdleConnections(); return nil })
	return w, w.together(ctx)
}

func (w *web) start(ctx context.Context, i int, schema string) error {
	name := row.Worker(i)
	source, err := w.Identity(identity.ID{Role: identity.Node, Region: "iad", Name: name})
	if err != nil {
		return err
	}
	data, err := w.Dir(name)
	if err != nil {
		return err
	}
	cfg := region.Config{
		Fleet: world.Fleet, Region: "iad", Node: fleet.Worker(name), Generation: quic.Generation{Number: 1, Bits: 7},
		Data: data, Identity: source, Gossip: "127.0.0.1:0", GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0", Schema: schema, Durability: sqlite.OS,
	}
	if w.seed != "" {
		cfg.Seeds = []string{w.seed}
	}
	n, err := region.New(ctx, cfg)
	if err != nil {
		return err
	}
	w.Go(n.Run)
	if w.seed == "" {
		w.seed = n.Addresses().Gossip
	}
	w.addrs = append(w.addrs, n.Addresses().HTTP)
	return nil
}

// together waits until every node has the table and a row of the first.
func (w *web) together(ctx context.Context) error {
	const first = `["INSERT INTO items (id) VALUES ('first') ON CONFLICT DO NOTHING"]`
	if err := world.Await(ctx, "the first node to write", func() error { return w.transact(ctx, 0, "["+first+"]") }); err != nil {
		return err
	}
	for i := range w.addrs {
		err := world.Await(ctx, "the row on every node", func() error {
			got, err := w.post(ctx, i, "queries", `"SELECT count(*) FROM items"`)
			if err == nil && !bytes.Contains(got, []byte(`[1,[1]]`)) {
				err = fmt.Errorf("the row is not there: %s", got)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// post asks one node and reads the whole answer.
func (w *web) post(ctx context.Context, node int, what, body string) ([]byte, error) {
	res, err := w.open(ctx, node, what, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

func (w *web) open(ctx context.Context, node int, what, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.addrs[node]+"/v1/"+what, bytes.NewBufferString(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := w.pool.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		err = errors.Join(fmt.Errorf("%s: %s: %s", what, res.Status, text), res.Body.Close())
	}
	return res, err
}

func (w *web) transact(ctx context.Context, node int, body string) error {
	_, err := w.post(ctx, node, "transactions", body)
	return err
}

// update writes one row of the items of some client, or of the first.
func (w *web) update(ctx context.Context, client, n int) error {
	return w.transact(ctx, 0, fmt.Sprintf(
		`[["INSERT INTO items (id, app, n, note) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = excluded.n, note = excluded.note", ["i%d-%d", "app%d", %d, "a note of some words"]]]`,
		client, n%ownItems, client, n))
}

// transactions measures how many transactions of one row a node takes.
func transactions(ctx context.Context, b *bench.Bencher) (err error) {
	b.Note("%d clients in the node's own process, each with one connection of HTTP/1.1 and one transaction at a time", writers)
	dir, err := b.MemoryDir(256 << 20)
	if err != nil {
		return err
	}
	w, err := newWeb(ctx, dir, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return b.Compare(ctx, bench.Pair{
		Multiple: writers * writeEach, Subject: bench.Side{Name: "transactions", Do: w.writeAll},
		Measures: []bench.Measure{
			{Name: "transactions of one row per second", Unit: "/s", Of: bench.Rate, How: bench.Alone, Target: result.AtLeast(5000)},
			{Name: "CPU per transaction, client included", Unit: "µs", Of: bench.CPU, How: bench.Alone, Guard: bench.OnCPU},
		},
	})
}

// writeAll shares ops among the clients.
func (w *web) writeAll(ctx context.Context, ops int) (bench.Values, error) {
	each, from := ops/writers, w.n
	w.n += each
	errs := make([]error, writers)
	var group sync.WaitGroup
	for client := range writers {
		group.Go(func() {
			for i := 0; i < each && errs[client] == nil; i++ {
				errs[client] = w.update(ctx, client, from+i)
			}
		})
	}
	group.Wait()
	return nil, errors.Join(errs...)
}
