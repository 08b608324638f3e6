package region

import (
	"context"
	"net/http"
	"path/filepath"

	"github.com/firebreak-dev/firebreak/internal/httpd"
	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/region/compat"
	"github.com/firebreak-dev/firebreak/region/jsonapi"
)

// openLive opens the watches of queries.
func (n *Node) openLive() (err error) {
	n.live, err = live.New(live.Config{
		DB: n.db, Path: filepath.Join(n.cfg.Data, "watches"),
		Progress: n.dog.Loop("live", wedged).Mark, Logger: n.log, Metrics: n.cfg.Registry,
	})
	return err
}

// openHTTP opens the HTTP listener, if there is to be one.
func (n *Node) openHTTP() (err error) {
	if n.cfg.HTTP == "" {
		return nil
	}
	v1 := compat.New(compat.Config{DB: n.db, Live: n.live, Node: (*httpNode)(n), Token: n.cfg.HTTPToken, Logger: n.log})
	own := jsonapi.New(jsonapi.Config{API: n.service, Watches: n.service.Watches, Token: n.cfg.HTTPToken, Logger: n.log})
	mux := http.NewServeMux()
	mux.Handle("/v1/", v1)
	mux.Handle("/api/v1/", own)
	n.http, err = httpd.New(httpd.Config{Name: "HTTP", Listen: n.cfg.HTTP, Handler: mux, Logger: n.log, Metrics: n.cfg.Registry})
	return err
}

// httpNode is the node as the HTTP interface sees it.
type httpNode Node

// Writers returns those whose records came, and the present ones of members.
func (n *httpNode) Writers() []record.Writer {
	out := []record.Writer{n.db.Writer()}
	for w := range n.runner.Received() {
		out = append(out, w)
	}
	for _, p := range n.mesh.Peers() {
		out = append(out, record.Writer{Node: p.Node, Boot: p.Boot, Bits: p.Bits})
	}
	return out
}

// WaitPoint waits until the node has received a changeset.
func (n *httpNode) WaitPoint(ctx context.Context, p record.Point) error {
	return n.runner.WaitPoint(ctx, p)
}

// Health returns the figures of now.
func (n *httpNode) Health(ctx context.Context) (compat.Health, error) {
	h := compat.Health{Members: len(n.mesh.Peers()), Failed: (*Node)(n).ready()}
	for _, set := range n.runner.Received() {
		for _, gap := range set.Gaps {
			h.Gaps += gap.Len()
		}
	}
	_, p99 := n.probes.percentiles()
	h.P99Lag = float64(max(p99, 0)) / 1000
	h.Queue = n.db.Backlog()
	return h, ctx.Err()
}
