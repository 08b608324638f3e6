package compat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// queries runs one SELECT and streams its rows.
func (h *Handler) queries(w http.ResponseWriter, r *http.Request) {
	stmt, ok := h.statement(w, r)
	if !ok {
		return
	}
	limit, err := timeout(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if err := h.after(r); err != nil {
		status := http.StatusGatewayTimeout
		var unknown *unknownActorError
		var bad *badAfterError
		if errors.As(err, &unknown) {
			status = http.StatusNotFound
		} else if errors.As(err, &bad) {
			status = http.StatusBadRequest
		}
		fail(w, status, err)
		return
	}
	start := time.Now()
	d, err := h.DB.Describe(r.Context(), sqlite.Query{SQL: stmt.sql})
	switch {
	case err != nil:
		fail(w, queryStatus(err), explain(err))
		return
	case d.Parameters != len(stmt.args):
		fail(w, http.StatusInternalServerError, fmt.Errorf("wrong number of parameters passed to query: got %d, needed %d", len(stmt.args), d.Parameters))
		return
	}
	out := newStream(w, h.Stall)
	out.begin()
	_ = out.columns(d.Columns)
	out.flush()
	n := uint64(0)
	_, err = h.DB.Query(r.Context(), sqlite.Query{SQL: stmt.sql, Args: stmt.args, Timeout: limit}, func(columns []string, row store.Row) error {
		switch {
		case row != nil:
		case !slices.Equal(columns, d.Columns):
			return errors.New("the schema changed just now")
		default:
			return nil
		}
		n++
		return out.row(n, row)
	})
	switch {
	case out.err != nil:
		h.abort(r, out)
	case err != nil:
		out.line(errorLine(explain(err)))
		out.flush()
	default:
		out.line(append(jsonvalue.AppendReal([]byte(`{"eoq":{"time":`), time.Since(start).Seconds()), "}}\n"...))
		out.flush()
	}
}

// statement reads a body of one statement.
func (h *Handler) statement(w http.ResponseWriter, r *http.Request) (statement, bool) {
	raw, ok := h.body(w, r)
	if !ok {
		return statement{}, false
	}
	s, err := parseStatement(raw)
	var name *parameterError
	switch {
	case errors.As(err, &name):
		fail(w, http.StatusInternalServerError, err)
	case err != nil:
		plain(w, http.StatusUnprocessableEntity, "Failed to deserialize the JSON body into the target type: "+err.Error())
	}
	return s, err == nil
}

// queryStatus is 400 for what the statement is to blame for.
func queryStatus(err error) int {
	if errors.Is(err, store.ErrClosed) {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// privateName finds the tables and functions in which Corrosion keeps its books:
// who asks for them wants to know whether a write has come.
var privateName = regexp.MustCompile(`no such (table|function): (main\.)?(crsql_|__corro_|\S+__crsql_)`)

// explain gives an error the words that clients know.
func explain(err error) error {
	text := strings.TrimPrefix(err.Error(), "query: ")
	var limit *sqlite.LimitError
	switch {
	case errors.As(err, &limit) && limit.What == "time":
		return fmt.Errorf("interrupted: %s", text)
	case privateName.MatchString(text):
		return fmt.Errorf("%s: this node keeps its books otherwise; to read after a write add ?after=ACTOR_ID:VERSION, from that write's answer, to /v1/queries", text)
	case strings.Contains(text, "statement writes"), strings.Contains(text, "is not allowed here"):
		return fmt.Errorf("statement is not readonly: %s", text)
	}
	return errors.New(text)
}

// unknownActorError says that nobody here has heard of an actor.
type unknownActorError struct{ actor string }

func (e *unknownActorError) Error() string {
	return fmt.Sprintf("actor %s is unknown to this node: it is no start of a node of this region that this one has heard of", e.actor)
}

type badAfterError struct{ text string }

func (e *badAfterError) Error() string {
	return fmt.Sprintf("after %q: want ACTOR_ID:VERSION, as a transaction answers them", e.text)
}

// waitTime is how long ?after= waits if ?after_timeout= does not say.
const waitTime = 5 * time.Second

// after waits, if asked, until the node has received a write.
func (h *Handler) after(r *http.Request) error {
	q := r.URL.Query()
	ctx, cancel := context.WithTimeout(r.Context(), waitTime)
	defer cancel()
	if text := q.Get("after_timeout"); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n < 0 {
			return &badAfterError{"…&after_timeout=" + text}
		}
		ctx, cancel = context.WithTimeout(r.Context(), time.Duration(min(n, maxTimeout.Seconds())*float64(time.Second)))
		defer cancel()
	}
	for _, text := range q["after"] {
		for _, one := range strings.Split(text, ",") {
			p, err := h.point(strings.TrimSpace(one))
			if err != nil {
				return err
			}
			err = h.Node.WaitPoint(ctx, p)
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				return fmt.Errorf("version %d of actor %s was not received in time", p.Version, actorText(p.Writer))
			case err != nil:
				return fmt.Errorf("version %d of actor %s was not received: %w", p.Version, actorText(p.Writer), err)
			}
		}
	}
	return nil
}

// point reads actor:version.
func (h *Handler) point(text string) (record.Point, error) {
	actor, version, _ := strings.Cut(text, ":")
	id, err := uuid.Parse(actor)
	v, err2 := strconv.ParseUint(version, 10, 63)
	if err != nil || err2 != nil || v == 0 {
		return record.Point{}, &badAfterError{text}
	}
	for _, w := range h.Node.Writers() {
		if Actor(w) == id {
			return record.Point{Writer: w, Version: record.Version(v)}, nil
		}
	}
	return record.Point{}, &unknownActorError{actor}
}
