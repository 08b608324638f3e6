// Package jsonapi is the region node's API as JSON under /api/v1: what package
// api serves over gRPC, for those who have curl or a browser. A message is
// written as protobuf's JSON mapping has it, with the names of its fields;
// rows of SQL are plain JSON. Answers that go on are lines of JSON, or
// server-sent events for those who ask for text/event-stream.
//
// The list of what there is, in route.go, makes the server and the OpenAPI
// document, so that one cannot say what the other does not do.
package jsonapi

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/firebreak-dev/firebreak/internal/httpd"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/watch"
)

// The bounds of a request.
const (
	maxBody = 64 << 20         // bytes: a whole list to reconcile
	stall   = 30 * time.Second // how long a client may leave an answer unread
)

// Config of a handler.
type Config struct {
	API     regionv1.RegionServiceServer // required
	Watches *watch.Server                // required
	Token   string                       // bearer token; empty asks for none
	Stall   time.Duration                // how long a client may leave an answer unread; zero means 30 s
	Logger  *slog.Logger                 // nil discards
}

// Handler serves /api/v1.
type Handler struct {
	cfg Config
	mux *http.ServeMux
	doc []byte // OpenAPI
}

// New returns the handler.
func New(cfg Config) *Handler {
	if cfg.Stall == 0 {
		cfg.Stall = stall
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{cfg: cfg, mux: http.NewServeMux()}
	routes := h.routes()
	h.doc = document(routes)
	for _, r := range routes {
		h.mux.HandleFunc(r.method+" "+r.path, r.serve)
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, status.Errorf(codes.NotFound, "there is no %s %s; /api/v1/openapi.json lists what there is", r.Method, r.URL.Path))
	})
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.cfg.Token != "" {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(h.cfg.Token)) != 1 {
			fail(w, status.Error(codes.Unauthenticated, "a bearer token is required: Authorization: Bearer TOKEN"))
			return
		}
	}
	h.mux.ServeHTTP(w, r)
}

// body reads a request's JSON.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return nil, &httpError{http.StatusUnsupportedMediaType, "want Content-Type: application/json"}
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(h.cfg.Stall))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, httpd.ErrBodies):
		return nil, status.Error(codes.Unavailable, err.Error())
	case errors.As(err, &large):
		return nil, &httpError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is over the limit of %d bytes", maxBody)}
	case err != nil:
		return nil, status.Errorf(codes.InvalidArgument, "read the body: %v", err)
	}
	return raw, nil
}

// message reads a body that is a message.
func (h *Handler) message(w http.ResponseWriter, r *http.Request, m proto.Message) error {
	raw, err := h.body(w, r)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(raw, m); err != nil {
		return status.Errorf(codes.InvalidArgument, "the body is no %s: %v", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

var written = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}

// answer writes a message.
func answer(w http.ResponseWriter, m proto.Message) {
	b, err := written.Marshal(m)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}

// httpError is an error with a status that gRPC does not know.
type httpError struct {
	status int
	text   string
}

func (e *httpError) Error() string { return e.text }

var statusOf = map[codes.Code]int{
	codes.InvalidArgument: 400, codes.OutOfRange: 410, codes.Unauthenticated: 401, codes.PermissionDenied: 403, codes.NotFound: 404,
	codes.AlreadyExists: 409, codes.Aborted: 409, codes.FailedPrecondition: 409, codes.ResourceExhausted: 429, codes.Canceled: 499,
	codes.Unimplemented: 501, codes.Unavailable: 503, codes.DeadlineExceeded: 504,
}

// fail answers with an error: {"error": {"code": …, "message": …}}.
func fail(w http.ResponseWriter, err error) {
	var own *httpError
	code, text := http.StatusInternalServerError, status.Code(err).String()
	switch {
	case errors.As(err, &own):
		code, text = own.status, http.StatusText(own.status)
	case statusOf[status.Code(err)] != 0:
		code = statusOf[status.Code(err)]
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(errorObject(text, err))
}

func errorObject(code string, err error) []byte {
	message := err.Error()
	if s, ok := status.FromError(err); ok {
		message = s.Message()
	}
	b, err := json.Marshal(map[string]map[string]string{"error": {"code": code, "message": message}})
	if err != nil {
		panic(err) // strings are always JSON
	}
	return append(b, '\n')
}
