package world

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/identity"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
	"github.com/firebreak-dev/firebreak/router"
)

// AddRouter starts a real router that follows a global node, and returns a
// client of it once it knows as many regions and prunes by the directory.
func (w *World) AddRouter(ctx context.Context, global string, regions int) (routerv1.RouterServiceClient, error) {
	source, err := w.Identity(identity.ID{Role: identity.Router, Name: "r1"})
	if err != nil {
		return nil, err
	}
	dir, err := w.Dir("r1")
	if err != nil {
		return nil, err
	}
	r, err := router.New(ctx, router.Config{Fleet: Fleet, Node: "r1", Data: dir, Identity: source, GRPC: "127.0.0.1:0", Globals: []string{global}})
	if err != nil {
		return nil, err
	}
	w.Go(r.Run)
	conn, err := w.Dial(r.Addresses().GRPC, identity.ID{Role: identity.Client, Name: "edge"}, identity.HasRole(Fleet, identity.Router))
	if err != nil {
		return nil, err
	}
	c := routerv1.NewRouterServiceClient(conn)
	return c, Await(ctx, "the router to know its regions", func() error {
		l, err := c.Lookup(ctx, &routerv1.LookupRequest{App: "no-such-app"})
		switch {
		case err != nil:
			return err
		case len(l.GetCoverage()) < regions || !l.GetComplete():
			return fmt.Errorf("it knows %d of %d regions, complete: %v", len(l.GetCoverage()), regions, l.GetComplete())
		}
		return nil
	})
}

// awaitFor bounds every wait for something to come up.
const awaitFor = 30 * time.Second

// Await calls ok until it returns nil.
func Await(ctx context.Context, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, awaitFor)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if stop := backoff.Wait(ctx, 20*time.Millisecond); stop != nil {
			return errors.Join(fmt.Errorf("wait for %s: %w", what, stop), err)
		}
	}
}
