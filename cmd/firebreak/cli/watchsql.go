package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/exit"
	"github.com/firebreak-dev/firebreak/internal/backoff"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// queryEvent is one line of watch with a SELECT.
type queryEvent struct {
	Event   string       `json:"event"` // opened, row, synced, insert, update, delete, resync
	ID      string       `json:"id,omitempty"`
	Columns []string     `json:"columns,omitempty"`
	RowID   uint64       `json:"row_id,omitempty"`
	Cells   []cell.Value `json:"cells,omitempty"`
	Change  *uint64      `json:"change,omitempty"`
	Reason  string       `json:"reason,omitempty"`
}

// queryWatcher follows one SELECT over reconnects.
type queryWatcher struct {
	env  *env
	sql  string
	args []*clusterpb.Value
	once bool

	id     string // of the watch; empty before it is opened
	from   uint64 // the last change that was printed
	shown  bool   // rows were printed
	synced bool   // they were all
	events int
}

// isSelect tells a SELECT from the name of an app, which has no white space.
func isSelect(arg string) bool { return strings.ContainsAny(strings.TrimSpace(arg), " \t\r\n") }

// run follows until ctx ends. Before the first event a node that does not
// answer is an error; after it, a reason to try again.
func (w *queryWatcher) run(ctx context.Context) error {
	retry := backoff.New(backoff.Config{Base: 100 * time.Millisecond, Max: 5 * time.Second}, rand.Uint64())
	for {
		before := w.events
		err := w.env.session(ctx, w.follow)
		switch {
		case ctx.Err() != nil && w.once:
			return exit.With(exit.Partial, errors.New("not synced in time"))
		case ctx.Err() != nil, errors.Is(err, errSynced):
			return nil
		case w.events == 0 || !w.again(err):
			return err
		}
		if before != w.events {
			retry.Reset()
		}
		w.env.note("lost the node, trying again: %v", err)
		if backoff.Wait(ctx, retry.Next()) != nil {
			return nil
		}
	}
}

// again reports whether a watch that ended with err may go on.
func (w *queryWatcher) again(err error) bool {
	if passOver(err) {
		return true
	}
	// The schema changed under the watch: it is another one now.
	if s, ok := errors.AsType[*endedError](err); ok {
		w.id = ""
		return s.code == codes.Aborted
	}
	return false
}

// endedError is a status with which a node ended a watch.
type endedError struct {
	code codes.Code
	text string
}

func (e *endedError) Error() string { return e.text }

// follow prints the events of one stream until it ends.
func (w *queryWatcher) follow(ctx context.Context, n regionpb.RegionServiceClient, _ place) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := w.stream(ctx, n)
	if s, ok := status.FromError(err); ok && w.resumes() && (s.Code() == codes.NotFound || s.Code() == codes.OutOfRange) {
		w.id, w.from = "", 0
		w.env.note("the watch begins anew: %s", s.Message())
		err = w.stream(ctx, n)
	}
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	if s.Code() == codes.Aborted {
		return exit.With(exit.Failed, &endedError{s.Code(), s.Message()})
	}
	return err
}

func (w *queryWatcher) resumes() bool { return w.id != "" && w.synced }

func (w *queryWatcher) stream(ctx context.Context, n regionpb.RegionServiceClient) error {
	req := &regionpb.WatchQueryRequest{Sql: w.sql, Args: w.args}
	if w.resumes() {
		// From zero is a snapshot: before the first change it is the same rows.
		req = &regionpb.WatchQueryRequest{Id: w.id, From: w.from}
	}
	s, err := n.WatchQuery(ctx, req)
	if err != nil {
		return err
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return exit.With(exit.Unanswered, errors.New("the node ended the stream"))
		} else if err != nil {
			return err
		}
		w.events++
		if err := w.take(m, req.From > 0); err != nil {
			return err
		}
		if w.once && w.synced {
			return errSynced
		}
	}
}

// take prints an event. A stream that begins with a snapshot after rows were
// printed says first that those are over.
func (w *queryWatcher) take(m *regionpb.WatchQueryResponse, resumed bool) error {
	change := func(n uint64) *uint64 { return &n }
	switch k := m.GetEvent().(type) {
	case *regionpb.WatchQueryResponse_Opened:
		w.id = k.Opened.GetId()
		if !resumed && w.shown {
			w.shown, w.synced = false, false
			if err := w.print(queryEvent{Event: "resync", Reason: "the watch was lost and is read anew"}); err != nil {
				return err
			}
		}
		return w.print(queryEvent{Event: "opened", ID: w.id, Columns: k.Opened.GetColumns()})
	case *regionpb.WatchQueryResponse_Row:
		w.shown = true
		return w.print(queryEvent{Event: "row", RowID: k.Row.GetId(), Cells: cell.FromRow(k.Row.GetCells())})
	case *regionpb.WatchQueryResponse_Synced:
		w.synced, w.shown, w.from = true, true, k.Synced
		return w.print(queryEvent{Event: "synced", Change: change(k.Synced)})
	case *regionpb.WatchQueryResponse_Change:
		w.from = k.Change.GetNumber()
		r := k.Change.GetRow()
		return w.print(queryEvent{Event: changeWord(k.Change.GetKind()), Change: change(w.from), RowID: r.GetId(), Cells: cell.FromRow(r.GetCells())})
	case *regionpb.WatchQueryResponse_Resync:
		w.synced = false
		return w.print(queryEvent{Event: "resync", Reason: k.Resync.GetReason()})
	}
	return nil // of a newer node
}

func changeWord(k regionpb.QueryChangeKind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "QUERY_CHANGE_KIND_"))
}

func (w *queryWatcher) print(ev queryEvent) error {
	if w.env.format != formatTable {
		return w.env.json(ev)
	}
	_, err := fmt.Fprintln(w.env.out, cell.Printable(ev.text()))
	return err
}

// text is the event for a person.
func (ev queryEvent) text() string {
	var cells []string
	for _, v := range ev.Cells {
		cells = append(cells, v.Text())
	}
	row := strings.Join(cells, " | ")
	switch ev.Event {
	case "opened":
		return "= " + strings.Join(ev.Columns, " | ")
	case "row", "insert":
		return "+ " + row
	case "update":
		return "~ " + row
	case "delete":
		return "- " + row
	case "resync":
		return "= what was shown is over: " + ev.Reason
	}
	return "= " + ev.Event
}
