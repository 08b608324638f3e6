package jsonapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/record"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/read"
)

// route is one entry of the API.
type route struct {
	method, path string
	summary      string
	query        []string      // names of query parameters
	request      proto.Message // what the body is; nil for none or for SQL
	sql          bool          // the body is {"sql": …, "args": […]}
	response     proto.Message // nil if the answer is a stream or of another shape
	stream       string        // what its events are
	serve        http.HandlerFunc
}

func (h *Handler) routes() []route {
	api := h.cfg.API
	return []route{
		{method: "GET", path: "/api/v1/openapi.json", summary: "This API as an OpenAPI document", serve: h.openAPI},
		{method: "GET", path: "/api/v1/status", summary: "Describe this node",
			response: &regionv1.StatusResponse{}, serve: unary(h, func() *regionv1.StatusRequest { return &regionv1.StatusRequest{} }, nil, api.Status)},
		{method: "POST", path: "/api/v1/publish", summary: "Write machines in this node's name, all or none",
			request: &regionv1.PublishRequest{}, response: &regionv1.PublishResponse{}, serve: posted(h, api.Publish)},
		{method: "POST", path: "/api/v1/withdraw", summary: "End machines",
			request: &regionv1.WithdrawRequest{}, response: &regionv1.WithdrawResponse{}, serve: posted(h, api.Withdraw)},
		{method: "POST", path: "/api/v1/reconcile", summary: "Give the full list of what this worker runs; what is not in it ends", query: []string{"allow_shrink"},
			request: &regionv1.PublishRequest{}, response: &regionv1.ReconcileResponse{}, serve: h.reconcile},
		{method: "POST", path: "/api/v1/health", summary: "Write health of this node's machines",
			request: &regionv1.SetHealthRequest{}, response: &regionv1.SetHealthResponse{}, serve: posted(h, api.SetHealth)},
		{method: "POST", path: "/api/v1/worker", summary: "Write this worker's own row",
			request: &regionv1.SetWorkerRequest{}, response: &regionv1.SetWorkerResponse{}, serve: posted(h, api.SetWorker)},
		{method: "GET", path: "/api/v1/machines", summary: "List machines of the region", query: []string{"app", "worker", "ended"},
			response: &regionv1.ListMachinesResponse{}, serve: h.machines},
		{method: "GET", path: "/api/v1/machines/{id}", summary: "Every claim of one machine",
			response: &regionv1.GetMachineResponse{}, serve: unary(h, func() *regionv1.GetMachineRequest { return &regionv1.GetMachineRequest{} },
				func(r *http.Request, m *regionv1.GetMachineRequest) error { m.Id = r.PathValue("id"); return nil }, api.GetMachine)},
		{method: "GET", path: "/api/v1/where/{app}", summary: "The routable machines of an app in this region, those to prefer first",
			response: &regionv1.ListMachinesResponse{}, serve: h.where},
		{method: "POST", path: "/api/v1/wait", summary: "Wait until this node, or the region, has received writes",
			request: &regionv1.WaitRequest{}, response: &regionv1.WaitResponse{}, serve: posted(h, api.Wait)},
		{method: "POST", path: "/api/v1/query", summary: "Run one SELECT", sql: true, stream: `{"columns": […]}, {"row": […]} …, {"end": {…}}`, serve: h.query},
		{method: "POST", path: "/api/v1/exec", summary: "Run statements that write users' tables, all or nothing: {\"statements\": [{\"sql\": …, \"args\": […]}]}", serve: h.exec},
		{method: "GET", path: "/api/v1/watch", summary: "Follow a SELECT, an app's machines or a table", query: []string{"sql", "args", "app", "table", "from"},
			stream: "snapshot and changes; with text/event-stream each has an id, and Last-Event-ID goes on after it", serve: h.watch},
	}
}

// unary serves a call whose request comes from the address.
func unary[Req, Res proto.Message](_ *Handler, empty func() Req, fill func(*http.Request, Req) error, call func(context.Context, Req) (Res, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req := empty()
		if fill != nil {
			if err := fill(r, req); err != nil {
				fail(w, err)
				return
			}
		}
		res, err := call(r.Context(), req)
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, res)
	}
}

// posted serves a call whose request is the body.
func posted[Req any, P interface {
	*Req
	proto.Message
}, Res proto.Message](h *Handler, call func(context.Context, P) (Res, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req := P(new(Req))
		if err := h.message(w, r, req); err != nil {
			fail(w, err)
			return
		}
		res, err := call(r.Context(), req)
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, res)
	}
}

func (h *Handler) reconcile(w http.ResponseWriter, r *http.Request) {
	var list regionv1.PublishRequest
	if err := h.message(w, r, &list); err != nil {
		fail(w, err)
		return
	}
	shrink, err := flag(r, "allow_shrink")
	if err != nil {
		fail(w, err)
		return
	}
	parts := []*regionv1.ReconcileRequest{{Part: &regionv1.ReconcileRequest_Options{Options: &regionv1.ReconcileOptions{AllowShrink: shrink}}}}
	for _, m := range list.GetMachines() {
		parts = append(parts, &regionv1.ReconcileRequest{Part: &regionv1.ReconcileRequest_Machine{Machine: m}})
	}
	s := &receiver[regionv1.ReconcileRequest, regionv1.ReconcileResponse]{serverStream: serverStream{ctx: r.Context()}}
	s.next = func() (*regionv1.ReconcileRequest, error) {
		if len(parts) == 0 {
			return nil, io.EOF
		}
		p := parts[0]
		parts = parts[1:]
		return p, nil
	}
	if err := h.cfg.API.Reconcile(s); err != nil {
		fail(w, err)
		return
	}
	answer(w, s.got)
}

func flag(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, status.Errorf(codes.InvalidArgument, "%s %q is neither true nor false", name, text)
	}
	return b, nil
}

func (h *Handler) list(r *http.Request, req *regionv1.ListMachinesRequest) (*regionv1.ListMachinesResponse, error) {
	all := &regionv1.ListMachinesResponse{}
	err := h.cfg.API.ListMachines(req, &sender[regionv1.ListMachinesResponse]{serverStream{ctx: r.Context()}, func(res *regionv1.ListMachinesResponse) error {
		all.Machines = append(all.Machines, res.GetMachines()...)
		return nil
	}})
	return all, err
}

func (h *Handler) machines(w http.ResponseWriter, r *http.Request) {
	ended, err := flag(r, "ended")
	if err != nil {
		fail(w, err)
		return
	}
	q := r.URL.Query()
	all, err := h.list(r, &regionv1.ListMachinesRequest{App: q.Get("app"), Worker: q.Get("worker"), Ended: ended})
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, all)
}

func (h *Handler) where(w http.ResponseWriter, r *http.Request) {
	all, err := h.list(r, &regionv1.ListMachinesRequest{App: r.PathValue("app")})
	if err != nil {
		fail(w, err)
		return
	}
	var first, last []*regionv1.Machine
	for _, m := range all.GetMachines() {
		switch {
		case !m.GetRoutable():
		case m.GetSuspect():
			last = append(last, m)
		default:
			first = append(first, m)
		}
	}
	answer(w, &regionv1.ListMachinesResponse{Machines: append(first, last...)})
}

// statement is SQL as JSON.
type statement struct {
	SQL  string            `json:"sql"`
	Args []json.RawMessage `json:"args"`
}

func (s statement) values() ([]record.Value, error) {
	out := make([]record.Value, len(s.Args))
	for i, a := range s.Args {
		var err error
		if out[i], err = jsonvalue.Parse(a); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "argument %d: %v", i+1, err)
		}
	}
	return out, nil
}

func (s statement) protos() ([]*clusterv1.Value, error) {
	vs, err := s.values()
	out := make([]*clusterv1.Value, len(vs))
	for i, v := range vs {
		out[i] = read.ToProto(v)
	}
	return out, err
}
