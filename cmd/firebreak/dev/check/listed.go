package check

import (
	"context"
	"fmt"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
)

// Listed waits until every global node has each region confirmed, with as many
// apps as the truth: only then does what changes next mean anything there.
func Listed(ctx context.Context, nodes Nodes, t truth.Snapshot) error {
	apps := map[fleet.Region]uint64{}
	for _, regions := range t.Edges() {
		for region := range regions {
			apps[region]++
		}
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		lacks := unlisted(ctx, nodes, apps)
		if lacks == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the directory: %w", lacks)
		}
	}
}

func unlisted(ctx context.Context, nodes Nodes, apps map[fleet.Region]uint64) error {
	plan := nodes.Plan()
	for _, n := range plan.Of(federation.Global) {
		client, err := nodes.DirectoryClient(n)
		if err != nil {
			return err
		}
		list, err := client.ListRegions(ctx, &globalv1.ListRegionsRequest{})
		if err != nil {
			return fmt.Errorf("list regions at %s: %w", n.Name, err)
		}
		if len(list.Regions) != len(plan.Spec.Regions) {
			return fmt.Errorf("%s lists %d regions of %d", n.Name, len(list.Regions), len(plan.Spec.Regions))
		}
		for _, r := range list.Regions {
			fresh := r.ConfirmedAgeMs >= 0 && r.ConfirmedAgeMs < freshMs
			if want := apps[fleet.Region(r.Region)]; !fresh || r.Apps != want {
				return fmt.Errorf("%s has %d apps of %d in %s, confirmed %d ms ago", n.Name, r.Apps, want, r.Region, r.ConfirmedAgeMs)
			}
		}
	}
	return nil
}
