package compat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/live"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// place is where a client wants to begin.
type place struct {
	from     uint64
	skipRows bool // only what comes from now on, without columns and end
}

func placeOf(r *http.Request) (place, error) {
	var p place
	q := r.URL.Query()
	var err error
	if text := q.Get("from"); text != "" {
		if p.from, err = strconv.ParseUint(text, 10, 64); err != nil {
			return p, fmt.Errorf("from %q is no change id", text)
		}
	}
	if text := q.Get("skip_rows"); text != "" {
		if p.skipRows, err = strconv.ParseBool(text); err != nil {
			return p, fmt.Errorf("skip_rows %q is neither true nor false", text)
		}
	}
	return p, nil
}

// subscribe gives the rows of a query, and then its changes.
func (h *Handler) subscribe(w http.ResponseWriter, r *http.Request) {
	stmt, ok := h.statement(w, r)
	if !ok {
		return
	}
	at, err := placeOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	open := h.Live.Open
	if at.from > 0 {
		open = h.Live.Existing
	}
	watch, err := open(r.Context(), stmt.sql, stmt.args)
	switch {
	case errors.Is(err, live.ErrUnknown):
		fail(w, http.StatusBadRequest, errors.New("a `from` query param was supplied, but no existing subscription found"))
	case err != nil:
		fail(w, watchStatus(err), explain(err))
	default:
		h.serve(w, r, watch, at)
	}
}

// resume gives a subscription by its id.
func (h *Handler) resume(w http.ResponseWriter, r *http.Request) {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		plain(w, http.StatusBadRequest, fmt.Sprintf("Invalid URL: Cannot parse `id` with value `%s`: %v", r.PathValue("id"), err))
		return
	}
	at, err := placeOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	watch, err := h.Live.Find(r.Context(), id)
	switch {
	case errors.Is(err, live.ErrUnknown):
		fail(w, http.StatusNotFound, fmt.Errorf("could not find subscription with id %v", id))
	case err != nil:
		fail(w, watchStatus(err), err)
	default:
		h.serve(w, r, watch, at)
	}
}

func watchStatus(err error) int {
	var refused *live.RefusedError
	switch {
	case errors.As(err, &refused):
		return http.StatusBadRequest
	case errors.Is(err, live.ErrFuture), errors.Is(err, live.ErrBehind), errors.Is(err, live.ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, live.ErrStopping), errors.Is(err, store.ErrClosed), errors.Is(err, live.ErrTooMany), errors.Is(err, live.ErrLost):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// serve streams a watch until the client goes. Whatever else ends it aborts
// the stream, so that the client comes again.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, watch *live.Watch, at place) {
	defer watch.Release()
	ctx := r.Context()
	if at.from > 0 {
		if err := watch.Check(ctx, at.from); err != nil {
			fail(w, watchStatus(err), err)
			return
		}
	}
	w.Header().Set("Corro-Query-Id", watch.ID().String())
	w.Header().Set("Corro-Query-Hash", watch.Hash())
	out := newStream(w, h.Stall)
	out.begin()
	last := at.from
	if at.from == 0 {
		start := time.Now()
		snap, err := watch.Snapshot(ctx)
		if err == nil {
			last = snap.Change
			if !at.skipRows {
				err = tell(out, watch.Columns(), snap, start)
			}
			snap.Close()
		}
		if err != nil {
			h.cut(out, err)
		}
	}
	out.buf = nil // a stream may be quiet for long
	for out.err == nil {
		changes, err := watch.Next(ctx, last)
		if err != nil {
			h.cut(out, err)
		}
		for _, c := range changes {
			out.change(c)
			last = c.ID
		}
		out.flush()
	}
	h.abort(r, out)
}

// abort ends a stream that its client does not read, or has left.
func (h *Handler) abort(r *http.Request, out *stream) {
	if errors.Is(out.err, os.ErrDeadlineExceeded) {
		h.Logger.Info("a client that did not read was cut off", "path", r.URL.Path, "client", r.RemoteAddr, "after", h.Stall)
	}
	panic(http.ErrAbortHandler)
}

// tell writes the rows of now. What fails to be written is out's to say.
func tell(out *stream, columns []string, snap *live.Snapshot, start time.Time) error {
	_ = out.columns(columns)
	for {
		rows, err := snap.Next()
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			if out.row(row.ID, row.Cells) != nil {
				return nil
			}
		}
	}
	b := jsonvalue.AppendReal([]byte(`{"eoq":{"time":`), time.Since(start).Seconds())
	out.line(append(strconv.AppendUint(append(b, `,"change_id":`...), snap.Change, 10), "}}\n"...))
	out.flush()
	return nil
}

func (s *stream) change(c live.Change) {
	b := append([]byte(`{"change":["`), c.Kind.String()...)
	b = strconv.AppendUint(append(b, `",`...), c.Row.ID, 10)
	b = jsonvalue.AppendRow(append(b, ','), c.Row.Cells)
	s.line(append(strconv.AppendUint(append(b, ','), c.ID, 10), "]}\n"...))
}

// cut ends a stream that cannot go on. A watch that ended by itself says why;
// it is unknown from then on.
func (h *Handler) cut(out *stream, err error) {
	mayResume := errors.Is(err, live.ErrStopping) || errors.Is(err, live.ErrBehind) || errors.Is(err, live.ErrLost) || errors.Is(err, context.Canceled)
	if !mayResume {
		out.line(errorLine(err))
		out.flush()
		h.Logger.Warn("a subscription ended", "err", err)
	}
	panic(http.ErrAbortHandler)
}

// updates tells which keys of a table change.
func (h *Handler) updates(w http.ResponseWriter, r *http.Request) {
	u, err := h.Live.Updates(r.Context(), r.PathValue("table"))
	if err != nil {
		fail(w, watchStatus(err), err)
		return
	}
	defer u.Close()
	w.Header().Set("Corro-Query-Id", uuid.NewString())
	out := newStream(w, h.Stall)
	out.begin()
	for out.err == nil {
		changes, err := u.Next(r.Context())
		if err != nil {
			h.cut(out, err)
		}
		for _, c := range changes {
			kind := "update"
			if c.Gone {
				kind = "delete"
			}
			out.line(append(jsonvalue.AppendRow([]byte(`{"notify":["`+kind+`",`), c.Key), "]}\n"...))
		}
		out.flush()
	}
	h.abort(r, out)
}
