// Package compat is the HTTP interface under /v1 that Corrosion's clients
// speak, so that they work with a region node unchanged: transactions,
// queries, subscriptions, updates, table statistics and health. Its shapes and
// statuses are frozen; nothing is added to its streams, for clients fail on
// what they do not know. What is ours is asked for: the read barrier is a query
// parameter and a header. docs/guides/from-corrosion.md says what differs.
package compat

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/internal/httpd"
	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// maxBody is the bytes of one request.
const maxBody = 16 << 20

// stall is how long a client may leave an answer unread before it is cut off.
const stall = 30 * time.Second

// Node is what the interface needs of its node beyond the database.
type Node interface {
	// Writers returns every writer that is known, members' present ones too.
	Writers() []record.Writer
	// WaitPoint waits until the node has received a changeset.
	WaitPoint(ctx context.Context, p record.Point) error
	// Health returns the figures of now.
	Health(ctx context.Context) (Health, error)
}

// Health is how a node is.
type Health struct {
	Gaps    uint64
	Members int
	P99Lag  float64 // seconds
	Queue   int
	Failed  error // why writes do not work; nil if they do
}

// Config of a handler.
type Config struct {
	DB       *sqlite.DB
	Live     *live.Engine
	Node     Node
	Token    string        // bearer token; empty asks for none
	Endpoint string        // name that x-corrosion-requested-endpoint-name must have, if it is sent; empty accepts any
	Stall    time.Duration // how long a client may leave an answer unread; zero means 30 s
	Logger   *slog.Logger  // nil discards
}

// Handler serves /v1.
type Handler struct {
	Config
	mux http.ServeMux
}

// New returns the handler.
func New(cfg Config) *Handler {
	if cfg.Stall == 0 {
		cfg.Stall = stall
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Handler{Config: cfg}
	for _, e := range []struct {
		path, method string
		serve        http.HandlerFunc
	}{
		{"/v1/transactions", "POST", h.transactions}, {"/v1/queries", "POST", h.queries},
		{"/v1/subscriptions", "POST", h.subscribe}, {"/v1/subscriptions/{id}", "GET", h.resume},
		{"/v1/updates/{table}", "POST", h.updates}, {"/v1/table_stats", "POST", h.tableStats}, {"/v1/health", "GET", h.health},
	} {
		h.mux.HandleFunc(e.path, only(e.method, e.serve))
	}
	h.mux.HandleFunc("/v1/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	return h
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.Token != "" {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(token), []byte(h.Token)) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	if name := r.Header.Get("X-Corrosion-Requested-Endpoint-Name"); name != "" && h.Endpoint != "" && name != h.Endpoint {
		w.WriteHeader(http.StatusMisdirectedRequest)
		return
	}
	h.mux.ServeHTTP(w, r)
}

func only(method string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (r.Method != "HEAD" || method != "GET") { // what can be got has headers
			w.Header().Set("Allow", method)
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	}
}

// body reads a request's JSON. If it is none the answer is given already.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) (json.RawMessage, bool) {
	if !isJSON(r.Header.Get("Content-Type")) {
		plain(w, http.StatusUnsupportedMediaType, "Expected request with `Content-Type: application/json`")
		return nil, false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.Stall))
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, httpd.ErrBodies):
		plain(w, http.StatusServiceUnavailable, err.Error())
		return nil, false
	case errors.As(err, &large):
		plain(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is over the limit of %d bytes", maxBody))
		return nil, false
	case err != nil:
		plain(w, http.StatusBadRequest, "Failed to read the request body: "+err.Error())
		return nil, false
	case !json.Valid(raw):
		var any json.RawMessage
		plain(w, http.StatusBadRequest, fmt.Sprintf("Failed to parse the request body as JSON: %v", json.Unmarshal(raw, &any)))
		return nil, false
	}
	if err := jsonvalue.Exact(raw); err != nil {
		plain(w, http.StatusBadRequest, fmt.Sprintf("Failed to parse the request body as JSON: %v", err))
		return nil, false
	}
	return raw, true
}

// isJSON reports whether a content type is JSON, or something made of it.
func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"))
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// fail answers with an error line, as queries and subscriptions do.
func fail(w http.ResponseWriter, status int, err error) {
	w.Header()["Content-Type"] = nil
	w.WriteHeader(status)
	_, _ = w.Write(errorLine(err))
}

func errorLine(err error) []byte { return append(errorObject(err.Error()), '\n') }

func errorObject(text string) []byte {
	return append(jsonvalue.AppendText([]byte(`{"error":`), text), '}')
}

// Actor is the id by which clients name a writer: 32 hex digits, and a UUID.
func Actor(w record.Writer) uuid.UUID {
	sum := sha256.Sum256([]byte("firebreak actor\x00" + w.String()))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func actorText(w record.Writer) string {
	id := Actor(w)
	return hex.EncodeToString(id[:])
}
