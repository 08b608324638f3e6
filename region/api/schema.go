package api

import (
	"context"
	"errors"
	"time"

	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// Schemas is the schema of the users' tables of one node.
type Schemas interface {
	PlanSchema(ctx context.Context, files []schema.Table) (sqlite.SchemaPlan, error)
	LoadSchema(ctx context.Context, l sqlite.SchemaLoad) (sqlite.SchemaPlan, error)
	SchemaStatus(ctx context.Context) (sqlite.SchemaStatus, error)
	SchemaHistory(ctx context.Context) ([]sqlite.SchemaChange, error)
}

// PlanSchema implements the service.
func (s *Server) PlanSchema(ctx context.Context, req *regionv1.PlanSchemaRequest) (*regionv1.PlanSchemaResponse, error) {
	tables, err := parseFiles(req.GetFiles())
	if err != nil {
		return nil, code(err)
	}
	p, err := s.Schemas.PlanSchema(ctx, tables)
	if err != nil {
		return nil, code(refused(err))
	}
	return &regionv1.PlanSchemaResponse{Plan: planProto(p)}, nil
}

// ApplySchema implements the service.
func (s *Server) ApplySchema(ctx context.Context, req *regionv1.ApplySchemaRequest) (*regionv1.ApplySchemaResponse, error) {
	tables, err := parseFiles(req.GetFiles())
	if err != nil {
		return nil, code(err)
	}
	if len(req.GetWho()) > maxWho {
		return nil, code(invalid("who of %d bytes is over the limit of %d", len(req.GetWho()), maxWho))
	}
	p, err := s.Schemas.LoadSchema(ctx, sqlite.SchemaLoad{Tables: tables, Who: req.GetWho(), Hash: req.GetHash()})
	if err != nil {
		return nil, code(refused(err))
	}
	return &regionv1.ApplySchemaResponse{Plan: planProto(p)}, nil
}

// maxWho bounds who applies a schema, in bytes.
const maxWho = 200

func parseFiles(files []*regionv1.SchemaFile) ([]schema.Table, error) {
	in := make([]sqlite.SchemaFile, len(files))
	for i, f := range files {
		in[i] = sqlite.SchemaFile{Name: f.GetName(), SQL: f.GetSql()}
	}
	tables, err := sqlite.ParseFiles(in)
	if err != nil {
		return nil, &invalidError{err}
	}
	return tables, nil
}

// refused tells what the files are refused for from what else can fail.
func refused(err error) error {
	if _, ok := errors.AsType[*schema.Refusal](err); ok {
		return &invalidError{err}
	}
	return err
}

func planProto(p sqlite.SchemaPlan) *regionv1.SchemaPlan {
	out := &regionv1.SchemaPlan{Hash: p.Hash, Notes: p.Notes}
	for i, s := range p.Steps {
		step := &regionv1.SchemaStep{Act: string(s.Act), Table: s.Table, Name: s.Name, Sql: s.SQL}
		if i < len(p.Costs) {
			step.Rows, step.PauseUs = p.Costs[i].Rows, p.Costs[i].Pause.Microseconds()
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}

// SchemaStatus implements the service.
func (s *Server) SchemaStatus(ctx context.Context, _ *regionv1.SchemaStatusRequest) (*regionv1.SchemaStatusResponse, error) {
	st, err := s.Schemas.SchemaStatus(ctx)
	if err != nil {
		return nil, code(err)
	}
	out := &regionv1.SchemaStatusResponse{
		Region: string(s.Reader.Region), Node: string(s.Worker), Received: st.Received, Effect: st.Effect, Hidden: st.Hidden,
		Withheld: uint64(st.Withheld), Refused: s.Node.SchemaRefused(),
	}
	for _, t := range st.Tables {
		out.Tables = append(out.Tables, t.SQL())
	}
	for _, p := range st.Pending {
		step := &regionv1.SchemaStep{Act: p.Act, Table: p.Table, Name: p.Name, Rows: p.Rows, PauseUs: p.Pause.Microseconds(), Why: p.Why}
		if !p.Due.IsZero() {
			step.DueUnixMs = p.Due.UnixMilli()
		}
		out.Pending = append(out.Pending, step)
	}
	for _, x := range st.Idle {
		out.Idle = append(out.Idle, &regionv1.SchemaIdle{What: x.What, Table: x.Table, Name: x.Name, Why: x.Why})
	}
	return out, nil
}

// SchemaHistory implements the service.
func (s *Server) SchemaHistory(ctx context.Context, _ *regionv1.SchemaHistoryRequest) (*regionv1.SchemaHistoryResponse, error) {
	changes, err := s.Schemas.SchemaHistory(ctx)
	if err != nil {
		return nil, code(err)
	}
	out := &regionv1.SchemaHistoryResponse{}
	for _, c := range changes {
		out.Changes = append(out.Changes, &regionv1.SchemaChange{
			What: c.What, Table: c.Table, Name: c.Name, Number: c.Number, Sql: c.SQL, Who: c.Who,
			Node: string(c.At.Writer.Node), UnixMs: c.Wall.Truncate(time.Millisecond).UnixMilli(),
		})
	}
	return out, nil
}
