package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// maxTimeout bounds what a client may ask for.
const maxTimeout = time.Hour

// timeout reads ?timeout=, in seconds.
func timeout(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("timeout")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("timeout %q is no number of seconds", text)
	}
	return time.Duration(min(n, maxTimeout.Seconds()) * float64(time.Second)), nil
}

// transactions runs statements, all or nothing.
func (h *Handler) transactions(w http.ResponseWriter, r *http.Request) {
	raw, ok := h.body(w, r)
	if !ok {
		return
	}
	limit, err := timeout(r)
	if err != nil {
		plain(w, http.StatusBadRequest, err.Error())
		return
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		plain(w, http.StatusUnprocessableEntity, "Failed to deserialize the JSON body into the target type: expected a sequence of statements")
		return
	}
	if len(list) == 0 {
		h.failed(w, http.StatusBadRequest, errors.New("at least 1 statement is required"), 0)
		return
	}
	stmts := make([]sqlite.Statement, len(list))
	for i, raw := range list {
		s, err := parseStatement(raw)
		var name *parameterError
		switch {
		case errors.As(err, &name):
			h.failed(w, http.StatusInternalServerError, err, 0)
			return
		case err != nil:
			plain(w, http.StatusUnprocessableEntity, fmt.Sprintf("Failed to deserialize the JSON body into the target type: [%d]: %v", i, err))
			return
		}
		stmts[i] = sqlite.Statement{SQL: s.sql, Args: s.args}
	}
	start := time.Now()
	// What was begun is finished, whether or not the client still listens.
	results, commit, err := h.DB.Exec(context.WithoutCancel(r.Context()), sqlite.Request{Statements: stmts, LocalTables: true, Timeout: limit})
	took := time.Since(start)
	if err != nil {
		h.failed(w, http.StatusInternalServerError, err, took)
		return
	}
	h.committed(w, results, commit, took)
}

// committed answers a transaction that was kept.
func (h *Handler) committed(w http.ResponseWriter, results []sqlite.Affected, commit store.Commit, took time.Duration) {
	b := []byte(`{"results":[`)
	for i, res := range results {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendInt(append(b, `{"rows_affected":`...), res.Rows, 10), `,"time":`...)
		b = append(jsonvalue.AppendReal(b, res.Time.Seconds()), '}')
	}
	b = jsonvalue.AppendReal(append(b, `],"time":`...), took.Seconds())
	b = append(b, `,"version":`...)
	writer := h.DB.Writer()
	if commit.Point.Version > 0 {
		writer = commit.Point.Writer
		b = strconv.AppendUint(b, uint64(commit.Point.Version), 10)
	} else {
		b = append(b, "null"...)
		if len(commit.Standing) > 0 {
			// What a client waits for instead of a version of its own.
			var there []string
			for _, p := range commit.Standing {
				there = append(there, fmt.Sprintf("%s:%d", actorText(p.Writer), p.Version))
			}
			w.Header().Set(standingHeader, strings.Join(there[:min(len(there), maxStanding)], ", "))
		}
	}
	b = append(b, fmt.Sprintf(`,"actor_id":"%s"}`, actorText(writer))...)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// standingHeader names, for a transaction that changed nothing, the changesets
// whose rows are there.
const (
	standingHeader = "Firebreak-Standing"
	maxStanding    = 16
)

// failed answers a transaction of which nothing was kept.
func (h *Handler) failed(w http.ResponseWriter, status int, err error, took time.Duration) {
	text := strings.TrimPrefix(err.Error(), "exec: ")
	b := append(errorObject(text), `],"time":`...)
	b = jsonvalue.AppendReal(append([]byte(`{"results":[`), b...), took.Seconds())
	b = append(b, fmt.Sprintf(`,"version":null,"actor_id":"%s"}`, actorText(h.DB.Writer()))...)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
