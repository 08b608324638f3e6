package jsonapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// watch follows one thing: a SELECT, an app or a table.
func (h *Handler) watch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		last = q.Get("from")
	}
	given := 0
	for _, name := range []string{"sql", "app", "table"} {
		if q.Get(name) != "" {
			given++
		}
	}
	switch {
	case r.Method != http.MethodGet:
		fail(w, &httpError{http.StatusMethodNotAllowed, "a watch is followed with GET"})
	case given != 1:
		fail(w, status.Error(codes.InvalidArgument, "want one of sql, app and table"))
	case q.Get("sql") != "":
		h.watchQuery(w, r, last)
	default:
		h.watchRows(w, r, last)
	}
}

// queryWatch is the request for the watch of a SELECT from an event on.
func queryWatch(r *http.Request, last string) (*regionv1.WatchQueryRequest, error) {
	stmt := statement{SQL: r.URL.Query().Get("sql")}
	if text := r.URL.Query().Get("args"); text != "" {
		if err := decode([]byte(text), &stmt.Args); err != nil {
			return nil, fmt.Errorf("args is no JSON array: %w", err)
		}
	}
	args, err := stmt.protos()
	if err != nil {
		return nil, err
	}
	req := &regionv1.WatchQueryRequest{Sql: stmt.SQL, Args: args}
	if last == "" {
		return req, nil
	}
	id, from, ok := strings.Cut(last, ":")
	if req.From, err = strconv.ParseUint(from, 10, 64); !ok || id == "" || err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%q is no event id of a query's watch", last)
	}
	req.Id = id
	return req, nil
}

// watchQuery follows a SELECT. An event's id is the watch's id and a change.
func (h *Handler) watchQuery(w http.ResponseWriter, r *http.Request, last string) {
	req, err := queryWatch(r, last)
	if err != nil {
		fail(w, err)
		return
	}
	out := h.stream(w, r)
	err = h.followQuery(out, req)
	if lost(err) && !out.begun && r.Header.Get("Last-Event-ID") != "" {
		// A browser comes back by itself, and gives up for good on any status
		// but 200: it is told that it begins anew.
		reason := append(jsonvalue.AppendText([]byte(`{"resync":`), status.Convert(err).Message()), '}')
		if err = out.send("", "resync", reason); err == nil {
			req.Id, req.From = "", 0
			err = h.followQuery(out, req)
		}
	}
	h.ended(w, out, err)
}

// ended answers with err if nothing was answered yet, or closes the stream.
func (h *Handler) ended(w http.ResponseWriter, out *stream, err error) {
	if err != nil && !out.begun && out.r.Context().Err() == nil {
		fail(w, err)
		return
	}
	out.end(err)
}

// lost reports whether a watch cannot be gone on with from where its reader is.
func lost(err error) bool {
	code := status.Code(err)
	return code == codes.NotFound || code == codes.OutOfRange
}

func (h *Handler) followQuery(out *stream, req *regionv1.WatchQueryRequest) error {
	id := ""
	return h.cfg.API.WatchQuery(req, &sender[regionv1.WatchQueryResponse]{serverStream{ctx: out.r.Context()}, func(res *regionv1.WatchQueryResponse) error {
		switch e := res.GetEvent().(type) {
		case *regionv1.WatchQueryResponse_Opened:
			id = e.Opened.GetId()
			return out.send("", "columns", columnsJSON(e.Opened.GetColumns()))
		case *regionv1.WatchQueryResponse_Row:
			return out.add("", "row", queryRow(`{"row":[`, e.Row))
		case *regionv1.WatchQueryResponse_Synced:
			return out.send(fmt.Sprintf("%s:%d", id, e.Synced), "synced", fmt.Appendf(nil, `{"synced":%d}`, e.Synced))
		case *regionv1.WatchQueryResponse_Change:
			kind := strings.ToLower(strings.TrimPrefix(e.Change.GetKind().String(), "QUERY_CHANGE_KIND_"))
			return out.send(fmt.Sprintf("%s:%d", id, e.Change.GetNumber()), kind, queryRow(`{"`+kind+`":[`, e.Change.GetRow()))
		case *regionv1.WatchQueryResponse_Resync:
			return out.send("", "resync", append(jsonvalue.AppendText([]byte(`{"resync":`), e.Resync.GetReason()), '}'))
		}
		return nil
	}})
}

// queryRow is a row's id and cells.
func queryRow(head string, r *regionv1.QueryRow) []byte {
	b := strconv.AppendUint([]byte(head), r.GetId(), 10)
	return append(jsonvalue.AppendRow(append(b, ','), cells(r.GetCells())), "]}"...)
}

// watchRows follows an app's machines or a table. An event's id is a position.
func (h *Handler) watchRows(w http.ResponseWriter, r *http.Request, last string) {
	q := r.URL.Query()
	add := &regionv1.WatchInterest{Id: 1}
	if app := q.Get("app"); app != "" {
		add.What = &regionv1.WatchInterest_App{App: app}
	} else {
		add.What = &regionv1.WatchInterest_Table{Table: q.Get("table")}
	}
	if last != "" {
		var err error
		if add.Position, err = base64.RawURLEncoding.DecodeString(last); err != nil {
			fail(w, status.Errorf(codes.InvalidArgument, "%q is no event id of a watch", last))
			return
		}
	}
	s := newRowStream(h.stream(w, r), &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Hello{Hello: &regionv1.WatchHello{Client: "http " + r.RemoteAddr}}},
		&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Add{Add: add}})
	defer s.stop()
	err := h.cfg.Watches.Serve(s)
	if s.err != nil {
		err = s.err // the end of the requests, which it caused, may have come first
	}
	h.ended(w, s.out, err)
}

// rowStream is a client of two-way watches that asks for one thing, and goes
// when it is refused or something cannot be sent.
type rowStream struct {
	ctx      context.Context // ends when the client goes
	stop     func()
	out      *stream
	requests []*regionv1.WatchRequest
	err      error // of Send; to be read once the watch has ended
}

func newRowStream(out *stream, requests ...*regionv1.WatchRequest) *rowStream {
	s := &rowStream{out: out, requests: requests}
	s.ctx, s.stop = context.WithCancel(out.r.Context())
	return s
}

func (s *rowStream) Context() context.Context { return s.ctx }

func (s *rowStream) Recv() (*regionv1.WatchRequest, error) {
	if len(s.requests) > 0 {
		next := s.requests[0]
		s.requests = s.requests[1:]
		return next, nil
	}
	<-s.ctx.Done()
	return nil, io.EOF
}

func (s *rowStream) Send(res *regionv1.WatchResponse) error {
	if s.err = s.tell(res); s.err != nil {
		s.stop() // Recv waits for nobody
	}
	return s.err
}

func (s *rowStream) tell(res *regionv1.WatchResponse) error {
	if reason := res.GetRefused().GetReason(); reason != "" {
		return status.Error(codes.InvalidArgument, reason)
	}
	id := ""
	if p := res.GetPosition(); len(p) > 0 {
		id = base64.RawURLEncoding.EncodeToString(p)
	}
	if row := res.GetRow(); row != nil {
		return s.out.send(id, "row", tableRow("row", row))
	}
	if row := res.GetDeleted(); row != nil {
		return s.out.send(id, "deleted", tableRow("deleted", row))
	}
	name := "event"
	if f := res.ProtoReflect().WhichOneof(res.ProtoReflect().Descriptor().Oneofs().ByName("event")); f != nil {
		name = string(f.Name())
	}
	res.Position, res.Interest = nil, 0
	b, err := written.Marshal(res)
	if err != nil {
		return err
	}
	var event map[string]json.RawMessage
	if err := json.Unmarshal(b, &event); err != nil {
		return err
	}
	b, err = json.Marshal(map[string]json.RawMessage{name: event[name]})
	if err != nil {
		return err
	}
	if res.GetStatus() != nil && !s.out.begun {
		return s.out.add(id, name, b) // what is asked for may be refused yet
	}
	return s.out.send(id, name, b)
}

// tableRow is an object of a row's columns.
func tableRow(name string, row *regionv1.WatchRow) []byte {
	b := []byte(`{"` + name + `":{`)
	for i, v := range cells(row.GetRow()) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsonvalue.AppendText(b, row.GetColumns()[i]), ':')
		b = jsonvalue.Append(b, v)
	}
	return append(b, "}}"...)
}
