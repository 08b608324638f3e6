package observe

import (
	"context"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/daemon"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// ackEvery is after how many events of a stream the last is acknowledged.
const ackEvery = 64

// region watches the table of machines on one node.
func (w *Watches) region(ctx context.Context, o propagation.Observer, c regionv1.RegionServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Watch(ctx)
	if err != nil {
		return err
	}
	for _, req := range []*regionv1.WatchRequest{
		{Part: &regionv1.WatchRequest_Hello{Hello: &regionv1.WatchHello{Client: client}}},
		{Part: &regionv1.WatchRequest_Add{Add: &regionv1.WatchInterest{Id: 1, What: &regionv1.WatchInterest_Table{Table: "fleet_machines"}}}},
	} {
		if err := stream.Send(req); err != nil {
			return err
		}
	}
	for n := 1; ; n++ {
		ev, err := stream.Recv()
		if err != nil {
			return err
		}
		if ev.GetSynced() != nil {
			w.synced(o)
		}
		if row := ev.GetRow(); row != nil {
			worker, id, number := parseRow(row)
			if number > 0 && w.cfg.Row != nil {
				w.cfg.Row(truth.Place{Region: o.Region, Worker: o.Node}, worker, id, contentOf(row))
			}
			if number > 0 {
				w.cfg.Tracker.Seen(o, truth.Place{Region: o.Region, Worker: worker}, id, number, time.Now())
			}
		}
		if n%ackEvery == 0 && len(ev.Position) > 0 {
			ack := &regionv1.WatchRequest_Ack{Ack: &regionv1.WatchAck{Interest: 1, Position: ev.Position}}
			if err := stream.Send(&regionv1.WatchRequest{Part: ack}); err != nil {
				return err
			}
		}
	}
}

// parseRow reads what matters of a row of fleet_machines. Number is zero for a
// row that no daemon of ours wrote.
func parseRow(row *regionv1.WatchRow) (worker fleet.Worker, id fleet.MachineID, number uint64) {
	text := func(column string) string {
		i := slices.Index(row.Columns, column)
		if i < 0 || i >= len(row.GetRow().GetValues()) {
			return ""
		}
		return textOf(row.Row.Values[i])
	}
	return fleet.Worker(text("worker")), fleet.MachineID(text("id")), daemon.Number(text("metadata"))
}

// contentOf tells versions of a row apart.
func contentOf(row *regionv1.WatchRow) uint64 {
	h := xxh3.New()
	for _, v := range row.GetRow().GetValues() {
		_, _ = h.WriteString(v.String()) // a hash takes everything
		_, _ = h.WriteString("\n")
	}
	return h.Sum64()
}

func textOf(v *clusterv1.Value) string { return string(v.GetText()) }

// tokenEvery is how often a watcher of the directory asks for confirmations.
const tokenEvery = 2 * time.Second

// global watches the directory on one global node.
func (w *Watches) global(ctx context.Context, o propagation.Observer, c globalv1.DirectoryServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Watch(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&globalv1.WatchRequest{Router: client, Token: 1}); err != nil {
		return err
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		tick := time.NewTicker(tokenEvery)
		defer tick.Stop()
		for token := uint64(2); ; token++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if stream.Send(&globalv1.WatchRequest{Token: token}) != nil {
				return
			}
		}
	}()
	defer func() { cancel(); <-asked }()
	for {
		ev, err := stream.Recv()
		if err != nil {
			return err
		}
		if ev.GetSynced() != nil {
			w.synced(o)
		}
		if e := ev.GetEntry(); e.GetPresence() != nil {
			w.cfg.Tracker.Listed(o, fleet.Region(e.Region), fleet.App(e.Presence.App), e.Presence.Class > 0, time.Now())
		}
	}
}

// router watches all apps on one router.
func (w *Watches) router(ctx context.Context, o propagation.Observer, c routerv1.RouterServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Watch(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&routerv1.WatchRequest{Part: &routerv1.WatchRequest_Hello{Hello: &routerv1.WatchHello{Client: client}}}); err != nil {
		return err
	}
	for _, app := range w.cfg.Apps {
		if err := stream.Send(&routerv1.WatchRequest{Part: &routerv1.WatchRequest_AddApp{AddApp: string(app)}}); err != nil {
			return err
		}
	}
	waiting := map[string]bool{}
	for _, app := range w.cfg.Apps {
		waiting[string(app)] = true
	}
	if len(waiting) == 0 {
		w.synced(o)
	}
	for n := 1; ; n++ {
		ev, err := stream.Recv()
		if err != nil {
			return err
		}
		if ev.GetAppSynced() != nil && waiting[ev.App] {
			if delete(waiting, ev.App); len(waiting) == 0 {
				w.synced(o)
			}
		}
		if m := ev.GetMachine(); m != nil {
			if number := daemon.Number(m.Metadata); number > 0 {
				place := truth.Place{Region: fleet.Region(ev.Region), Worker: fleet.Worker(m.Worker)}
				w.cfg.Tracker.Seen(o, place, fleet.MachineID(m.Id), number, time.Now())
			}
		}
		if n%ackEvery == 0 && len(ev.Position) > 0 {
			if err := stream.Send(&routerv1.WatchRequest{Part: &routerv1.WatchRequest_Ack{Ack: &routerv1.WatchAck{Position: ev.Position}}}); err != nil {
				return err
			}
		}
	}
}

// catalog looks, at every change of the catalog, for the machines that it has
// still to show.
func (w *Watches) catalog(ctx context.Context, o propagation.Observer) error {
	for _, app := range w.cfg.Apps {
		w.cfg.Catalog.Watch(string(app))
	}
	first := true
	for {
		changed := w.cfg.Catalog.Changed()
		if first && w.catalogComplete() {
			first = false
			w.synced(o)
		}
		w.lookAtCatalog(o)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *Watches) catalogComplete() bool {
	for _, app := range w.cfg.Apps {
		if _, ok := w.cfg.Catalog.Lookup(string(app)); !ok {
			return false
		}
	}
	return true
}

func (w *Watches) lookAtCatalog(o propagation.Observer) {
	now := time.Now()
	byApp := map[fleet.App][]propagation.Write{}
	for _, write := range w.cfg.Tracker.Awaited(o) {
		byApp[write.Machine.App] = append(byApp[write.Machine.App], write)
	}
	for app, writes := range byApp {
		view, ok := w.cfg.Catalog.Lookup(string(app))
		if !ok {
			continue
		}
		shown := make(map[truth.Machine]bool, len(view.Endpoints))
		for _, e := range view.Endpoints {
			shown[truth.Machine{
				Place: truth.Place{Region: fleet.Region(e.Region), Worker: fleet.Worker(e.Worker)},
				ID:    fleet.MachineID(e.Machine), App: app,
			}] = true
		}
		for _, write := range writes {
			if shown[write.Machine] {
				w.cfg.Tracker.Seen(o, write.Machine.Place, write.Machine.ID, write.Number, now)
			}
		}
	}
}
