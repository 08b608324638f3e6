package compat

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// tableStats counts the rows of tables.
func (h *Handler) tableStats(w http.ResponseWriter, r *http.Request) {
	raw, ok := h.body(w, r)
	if !ok {
		return
	}
	var req struct {
		Tables []string `json:"tables"`
	}
	if err := json.Unmarshal(raw, &req); err != nil {
		plain(w, http.StatusUnprocessableEntity, "Failed to deserialize the JSON body into the target type: "+err.Error())
		return
	}
	known := map[string]bool{}
	for _, t := range h.DB.Tables() {
		known[t.Name] = true
	}
	out := struct {
		Total   int64    `json:"total_row_count"`
		Invalid []string `json:"invalid_tables"`
	}{Invalid: []string{}}
	for _, name := range req.Tables {
		if !known[schema.Lower(name)] {
			out.Invalid = append(out.Invalid, name)
			continue
		}
		n, err := h.count(r, name)
		if err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		out.Total += n
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

func (h *Handler) count(r *http.Request, table string) (int64, error) {
	var n record.Value
	_, err := h.DB.Query(r.Context(), sqlite.Query{SQL: "SELECT count(*) FROM " + schema.Quote(table)}, func(_ []string, row store.Row) error {
		if row != nil {
			n = row[0]
		}
		return nil
	})
	return n.Int, err
}

// health answers 200 if the node writes and every figure is within the
// thresholds that were asked for.
func (h *Handler) health(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	status := http.StatusServiceUnavailable
	if text := q.Get("failure_status"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 200 || n > 599 {
			fail(w, http.StatusBadRequest, fmt.Errorf("failure_status %q is no status", text))
			return
		}
		status = n
	}
	is, err := h.Node.Health(r.Context())
	if err == nil {
		err = is.Failed
	}
	if err != nil {
		h.healthAnswer(w, status, nil, err)
		return
	}
	passed := false
	for name, is := range map[string]float64{
		"gaps": float64(is.Gaps), "p99_lag": is.P99Lag, "queue_size": float64(is.Queue), "max_queue": float64(is.Queue),
	} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		most, err := strconv.ParseFloat(text, 64)
		if err != nil {
			fail(w, http.StatusBadRequest, fmt.Errorf("%s %q is no number", name, text))
			return
		}
		passed = passed || is > most
	}
	if !passed {
		status = http.StatusOK
	}
	h.healthAnswer(w, status, &is, nil)
}

func (h *Handler) healthAnswer(w http.ResponseWriter, status int, is *Health, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err != nil {
		_, _ = w.Write(errorObject(err.Error()))
		return
	}
	_, _ = fmt.Fprintf(w, `{"response":{"gaps":%d,"members":%d,"p99_lag":%s,"queue_size":%d}}`,
		is.Gaps, is.Members, jsonvalue.AppendReal(nil, is.P99Lag), is.Queue)
}
