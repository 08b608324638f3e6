package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	routerpb "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// event is one line of watch.
type event struct {
	Event    string    `json:"event"` // machine, gone, reset, synced, status, list, app_synced
	App      string    `json:"app"`
	Region   string    `json:"region,omitempty"`
	Machine  *machine  `json:"machine,omitempty"`
	Worker   string    `json:"worker,omitempty"`   // gone
	ID       string    `json:"id,omitempty"`       // gone
	Ended    *bool     `json:"ended,omitempty"`    // gone: its owner said so
	Complete *bool     `json:"complete,omitempty"` // app_synced; list: it is current
	Coverage coverages `json:"coverage,omitempty"` // status: of its region; app_synced: of every region
}

// watcher follows one app over reconnects.
type watcher struct {
	env  *env
	app  string
	once bool

	position  map[string][]byte // region: where the watch goes on
	connected bool              // some stream has given an event
	events    int
	judged    bool // --once: the app was synced
	machines  map[string]bool
}

func (e *env) watchCommand() *cobra.Command {
	w := watcher{env: e, machines: map[string]bool{}, position: map[string][]byte{}}
	var limit time.Duration
	var values []string
	c := e.prints(&cobra.Command{
		Use:   "watch APP | watch SELECT",
		Short: "Follow the machines of an app across regions, or a SELECT on one node",
		Long: `Follow the machines of an app across regions, until interrupted. When its
router goes away the watch goes on with another, where it stopped.

An argument with white space in it is a SELECT: one region node (--node or
--socket) gives its rows, and then their changes. When the connection is lost
the watch goes on after the last change; if the node no longer keeps what came
after it, it says "resync", and the rows are those that follow.

--once ends when what is there now has been printed; for an app with the exit
codes of where.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			if isSelect(args[0]) {
				bound, err := queryArgs(values)
				if err != nil {
					return exit.With(exit.Usage, err)
				}
				return (&queryWatcher{env: e, sql: args[0], args: bound, once: w.once}).run(ctx)
			}
			if err := fleet.App(args[0]).Check(); err != nil {
				return exit.With(exit.Usage, err)
			}
			if len(values) > 0 {
				return exit.With(exit.Usage, errors.New("--arg is for a SELECT"))
			}
			w.app = args[0]
			return w.run(ctx)
		},
	})
	e.target.register(c)
	c.Flags().StringArrayVar(&values, "arg", nil, `value of the next "?" of the SELECT: a number, null, {"blob":"hex"}, "quoted text" or text`)
	c.Flags().BoolVar(&w.once, "once", false, "end when what is there now was printed")
	positiveVar(c.Flags(), &limit, "for", 0, "end after this time (default never)")
	return c
}

// errSynced ends a watch with --once.
var errSynced = errors.New("synced")

// run follows until ctx ends. Before the first event a router that does not
// answer is an error; after it, a reason to try again.
func (w *watcher) run(ctx context.Context) error {
	places, d, err := w.env.target.routersToAsk()
	if err != nil {
		return err
	}
	retry := backoff.New(backoff.Config{Base: 100 * time.Millisecond, Max: 5 * time.Second}, rand.Uint64())
	for {
		before := w.events
		err := w.env.askFirst(ctx, "router", places, d, w.follow)
		switch {
		case ctx.Err() != nil && w.once:
			return exit.With(exit.Partial, errors.New("not synced in time"))
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errSynced):
			return nil
		case w.judged, !w.connected || !passOver(err):
			return err
		}
		if before != w.events {
			retry.Reset()
		}
		w.env.note("lost the router, trying again: %v", err)
		if backoff.Wait(ctx, retry.Next()) != nil {
			return nil
		}
	}
}

// follow prints the events of one stream until it ends.
func (w *watcher) follow(ctx context.Context, conn *grpc.ClientConn, _ place) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := routerpb.NewRouterServiceClient(conn).Watch(ctx)
	if err != nil {
		return err
	}
	hello := &routerpb.WatchHello{Client: "firebreak watch", Position: w.where()}
	for _, req := range []*routerpb.WatchRequest{
		{Part: &routerpb.WatchRequest_Hello{Hello: hello}}, {Part: &routerpb.WatchRequest_AddApp{AddApp: w.app}},
	} {
		if err := s.Send(req); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return exit.With(exit.Unanswered, errors.New("the router ended the stream"))
		} else if err != nil {
			return err
		}
		w.connected = true
		w.events++
		if err := w.print(m); err != nil {
			return err
		}
		w.moved(m)
		if len(m.GetPosition()) > 0 {
			ack := &routerpb.WatchRequest{Part: &routerpb.WatchRequest_Ack{Ack: &routerpb.WatchAck{Position: m.GetPosition()}}}
			if err := s.Send(ack); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		if end := m.GetAppSynced(); end != nil && w.once {
			return w.synced(end)
		}
	}
}

// moved takes the position of an event. One that changes machines and has none
// ends the one before.
func (w *watcher) moved(m *routerpb.WatchResponse) {
	switch m.GetEvent().(type) {
	case *routerpb.WatchResponse_Machine, *routerpb.WatchResponse_Gone, *routerpb.WatchResponse_Reset_:
		delete(w.position, m.GetRegion())
	}
	if len(m.GetPosition()) > 0 {
		w.position[m.GetRegion()] = m.GetPosition()
	}
}

// where is where the watch goes on.
func (w *watcher) where() []byte {
	var out []byte
	for _, region := range slices.Sorted(maps.Keys(w.position)) {
		out = append(out, w.position[region]...)
	}
	return out
}

// synced ends a watch with --once.
func (w *watcher) synced(end *routerpb.AppSynced) error {
	w.judged = true
	cs := fromCoverage(end.GetCoverage())
	w.env.warn(cs)
	if len(cs) == 0 && len(w.machines) == 0 {
		return errNoRegions
	}
	if err := w.env.verdict(len(w.machines) > 0, end.GetComplete()); err != nil {
		return err
	}
	return errSynced
}

func (w *watcher) print(m *routerpb.WatchResponse) error {
	ev := event{App: m.GetApp(), Region: m.GetRegion()}
	switch k := m.GetEvent().(type) {
	case *routerpb.WatchResponse_Machine:
		one := fromMachine(k.Machine)
		ev.Event, ev.Machine = "machine", &one
		w.machines[ev.Region+"/"+one.Worker+"/"+one.ID] = true
	case *routerpb.WatchResponse_Gone:
		ended := k.Gone.GetEnded()
		ev.Event, ev.Worker, ev.ID, ev.Ended = "gone", k.Gone.GetWorker(), k.Gone.GetId(), &ended
		delete(w.machines, ev.Region+"/"+ev.Worker+"/"+ev.ID)
	case *routerpb.WatchResponse_Reset_:
		ev.Event = "reset"
		for key := range w.machines {
			if strings.HasPrefix(key, ev.Region+"/") {
				delete(w.machines, key)
			}
		}
	case *routerpb.WatchResponse_Synced:
		ev.Event = "synced"
	case *routerpb.WatchResponse_Status:
		ev.Event, ev.Coverage = "status", coverages{m.GetRegion(): fromOne(k.Status.GetCoverage())}
	case *routerpb.WatchResponse_AppSynced:
		complete := k.AppSynced.GetComplete()
		ev.Event, ev.Complete, ev.Coverage = "app_synced", &complete, fromCoverage(k.AppSynced.GetCoverage())
	case *routerpb.WatchResponse_List:
		current := k.List.GetCurrent()
		ev.Event, ev.Complete = "list", &current
	default:
		return nil // a kind of a newer router
	}
	if w.env.format != formatTable {
		return w.env.json(ev)
	}
	_, err := fmt.Fprintln(w.env.out, cell.Printable(ev.text()))
	return err
}

// text is the event for a person.
func (ev event) text() string {
	switch ev.Event {
	case "machine":
		m := ev.Machine
		return strings.TrimRight(fmt.Sprintf("+ %s/%s %s %s %s %s", ev.Region, m.Worker, m.ID, m.State, m.serves(), m.marks()), " ")
	case "gone":
		return fmt.Sprintf("- %s/%s %s", ev.Region, ev.Worker, ev.ID)
	case "status":
		c := ev.Coverage[ev.Region]
		return strings.TrimRight(fmt.Sprintf("= %s is %s %s", ev.Region, c.State, c.Detail), " ")
	case "list":
		if *ev.Complete {
			return "= the list of regions is current"
		}
		return "= the list of regions is old"
	case "app_synced":
		if *ev.Complete {
			return "= complete"
		}
		return "= partial"
	}
	return fmt.Sprintf("= %s %s", ev.Region, ev.Event)
}
