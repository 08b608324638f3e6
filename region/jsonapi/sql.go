package jsonapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/record"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/read"
)

func cells(row *clusterv1.Row) []record.Value {
	out := make([]record.Value, len(row.GetValues()))
	for i, v := range row.GetValues() {
		out[i] = read.FromProto(v)
	}
	return out
}

func columnsJSON(names []string) []byte {
	b, err := json.Marshal(map[string][]string{"columns": names})
	if err != nil {
		panic(err) // strings are always JSON
	}
	return b
}

// query streams rows.
func (h *Handler) query(w http.ResponseWriter, r *http.Request) {
	var stmt statement
	raw, err := h.body(w, r)
	if err == nil {
		err = decode(raw, &stmt)
	}
	args, err2 := stmt.protos()
	if err == nil {
		err = err2
	}
	if err != nil {
		fail(w, err)
		return
	}
	var out *stream
	err = h.cfg.API.Query(&regionv1.QueryRequest{Sql: stmt.SQL, Args: args}, &sender[regionv1.QueryResponse]{serverStream{ctx: r.Context()}, func(res *regionv1.QueryResponse) error {
		if out == nil {
			out = h.stream(w, r)
			if err := out.send("", "columns", columnsJSON(res.GetColumns())); err != nil {
				return err
			}
		}
		for _, row := range res.GetRows() {
			if err := out.add("", "row", append(jsonvalue.AppendRow([]byte(`{"row":`), cells(row)), '}')); err != nil {
				return err
			}
		}
		if end := res.GetEnd(); end != nil {
			b, err := written.Marshal(end)
			if err != nil {
				return err
			}
			return out.send("", "end", append(append([]byte(`{"end":`), b...), '}'))
		}
		return out.flush()
	}})
	if out == nil {
		if err == nil {
			err = status.Error(codes.Internal, "the query gave no answer")
		}
		fail(w, err)
		return
	}
	out.end(err)
}

// strictly refuses what it does not know: a word misspelt is no word left out.
func strictly(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil && len(bytes.TrimSpace(raw[d.InputOffset():])) > 0 {
		err = errors.New("there is more behind it")
	}
	return err
}

func decode(raw []byte, into any) error {
	err := cmp.Or(strictly(raw, into), jsonvalue.Exact(raw))
	var shape *json.UnmarshalTypeError
	switch {
	case errors.As(err, &shape):
		return status.Errorf(codes.InvalidArgument, "the body is not what is expected here: %s cannot be a JSON %s", cmp.Or(shape.Field, "it"), shape.Value)
	case err != nil:
		return status.Errorf(codes.InvalidArgument, "the body is not what is expected here: %v", err)
	}
	return nil
}

// exec runs statements that write.
func (h *Handler) exec(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Statements  []statement `json:"statements"`
		LocalTables bool        `json:"local_tables"`
	}
	raw, err := h.body(w, r)
	if err == nil {
		err = decode(raw, &body)
	}
	if err == nil && len(body.Statements) == 0 {
		err = status.Error(codes.InvalidArgument, `at least one statement is required: {"statements": [{"sql", "args"}]}`)
	}
	req := &regionv1.ExecRequest{LocalTables: body.LocalTables}
	for _, s := range body.Statements {
		args, err2 := s.protos()
		if err == nil {
			err = err2
		}
		req.Statements = append(req.Statements, &regionv1.Statement{Sql: s.SQL, Args: args})
	}
	var res *regionv1.ExecResponse
	if err == nil {
		res, err = h.cfg.API.Exec(r.Context(), req)
	}
	if err != nil {
		fail(w, err)
		return
	}
	b := []byte(`{"results":[`)
	for i, one := range res.GetResults() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"rows_affected":`...)
		b = append(jsonvalue.Append(b, record.Of(one.GetRowsAffected())), `,"rows":[`...)
		for j, row := range one.GetRows() {
			if j > 0 {
				b = append(b, ',')
			}
			b = jsonvalue.AppendRow(b, cells(row))
		}
		b = append(b, "]}"...)
	}
	point, err := written.Marshal(res.GetWritten())
	if err != nil {
		fail(w, err)
		return
	}
	b = append(append(append(b, `],"written":`...), point...), "}\n"...)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}
