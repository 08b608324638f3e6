package host

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Net holds the addresses of all machines of a federation, and nothing else.
// Linux answers on each of them without any set-up.
var Net = netip.MustParsePrefix("127.64.0.0/10")

// Addresses gives each machine one of its own: a catalog lists every address
// once. Safe for concurrent use.
type Addresses struct{ given atomic.Uint32 }

// Next returns the next address; after four million it begins anew.
func (a *Addresses) Next() netip.Addr {
	size := uint32(1) << (32 - Net.Bits())
	n := 1 + (a.given.Add(1)-1)%(size-2)
	b := Net.Addr().As4()
	b[1] |= byte(n >> 16)
	b[2], b[3] = byte(n>>8), byte(n)
	return netip.AddrFrom4(b)
}

// Hosts are the hosts of a federation.
type Hosts map[truth.Place]*Host

// Open opens a host for each place.
func Open(ctx context.Context, places []truth.Place) (Hosts, error) {
	hosts, addresses := Hosts{}, &Addresses{}
	for _, p := range places {
		h, err := Listen(ctx, p, addresses)
		if err != nil {
			return nil, errors.Join(err, hosts.Close())
		}
		hosts[p] = h
	}
	return hosts, nil
}

// Close closes all listeners.
func (hs Hosts) Close() error {
	var errs []error
	for _, h := range hs {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// Run answers on all of them until ctx ends.
func (hs Hosts) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range hs {
		g.Go(func() error { return h.Run(ctx) })
	}
	return g.Wait()
}

// Serving returns the apps that have a machine that has served since then, with
// the regions of such machines, sorted. Since says it for each region.
func (hs Hosts) Serving(since func(fleet.Region) time.Time) map[fleet.App][]fleet.Region {
	apps := map[fleet.App][]fleet.Region{}
	for _, place := range slices.SortedFunc(maps.Keys(hs), truth.Place.Compare) {
		for app := range hs[place].serving(since(place.Region)) {
			if !slices.Contains(apps[app], place.Region) {
				apps[app] = append(apps[app], place.Region)
			}
		}
	}
	return apps
}
