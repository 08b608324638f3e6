package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store"
	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
)

// Records is a store as its operator sees it.
type Records interface {
	Tables() []schema.Table
	Snapshot(ctx context.Context) (store.Snapshot, error)
	// Withheld returns a withheld record by its content hash.
	Withheld(ctx context.Context, hash record.Hash) (store.Withheld, record.Record, error)
	// Release judges one anew; store.ErrHeld says what still speaks against it.
	Release(ctx context.Context, hash record.Hash) error
	// Discard keeps a stub of one.
	Discard(ctx context.Context, hash record.Hash) error
	// Verify compares every row with what was received.
	Verify(ctx context.Context) (store.Verification, error)
}

// Lane is one store of a process.
type Lane struct {
	Name    string // region of the lane; empty in a region's own cluster
	Records Records
}

// listPart is how many withheld records one message holds.
const listPart = 256

// Over makes s answer for stores, which lanes lists each time.
func (s *Service) Over(lanes func() []Lane) *Service {
	s.lanes = lanes
	return s
}

// ListWithheld implements the service.
func (s *Service) ListWithheld(_ *adminv1.ListWithheldRequest, stream adminv1.AdminService_ListWithheldServer) error {
	for _, l := range s.lanes() {
		list, err := withheldIn(stream.Context(), l)
		if err != nil {
			return code(err)
		}
		for len(list) > 0 {
			n := min(len(list), listPart)
			if err := stream.Send(&adminv1.ListWithheldResponse{Records: list[:n]}); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	return nil
}

func withheldIn(ctx context.Context, l Lane) ([]*adminv1.WithheldRecord, error) {
	snap, err := l.Records.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("list withheld records: %w", err)
	}
	defer snap.Close()
	list, err := snap.Withheld()
	out := make([]*adminv1.WithheldRecord, len(list))
	for i, w := range list {
		out[i] = withheldProto(l.Name, w)
	}
	return out, err
}

func withheldProto(lane string, w store.Withheld) *adminv1.WithheldRecord {
	p := w.Point.Writer
	return &adminv1.WithheldRecord{
		Lane: lane, Table: w.Table, Key: keyText(w.Key),
		Node: string(p.Node), Boot: p.Boot, Bits: p.Bits, Version: uint64(w.Point.Version),
		Hash: w.Hash.String(), Reason: string(w.Reason), Detail: strings.ToValidUTF8(w.Detail, "�"),
		SinceUnixMs: w.Since.UnixMilli(), Stub: w.Stub, Size: uint64(w.Size),
	}
}

func keyText(k record.Key) string {
	cols, err := k.Columns()
	if err != nil {
		return hex.EncodeToString([]byte(k))
	}
	return valuesText(cols)
}

func valuesText(cols []record.Value) string {
	out := make([]string, len(cols))
	for i, v := range cols {
		out[i] = strings.ToValidUTF8(v.String(), "�")
	}
	return strings.Join(out, ", ")
}

// find returns the lane that withholds a record.
func (s *Service) find(ctx context.Context, text string) (Lane, store.Withheld, record.Record, error) {
	var hash record.Hash
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(hash) {
		return Lane{}, store.Withheld{}, record.Record{}, status.Errorf(codes.InvalidArgument, "hash %q: want the 32 hex digits that withheld list shows", text)
	}
	copy(hash[:], b)
	for _, l := range s.lanes() {
		w, rec, err := l.Records.Withheld(ctx, hash)
		if err == nil || !errors.Is(err, store.ErrNotWithheld) {
			return l, w, rec, err
		}
	}
	return Lane{}, store.Withheld{}, record.Record{}, fmt.Errorf("record %s: %w", text, store.ErrNotWithheld)
}

// ShowWithheld implements the service.
func (s *Service) ShowWithheld(ctx context.Context, req *adminv1.ShowWithheldRequest) (*adminv1.ShowWithheldResponse, error) {
	l, w, rec, err := s.find(ctx, req.GetHash())
	if err != nil {
		return nil, code(err)
	}
	out := &adminv1.ShowWithheldResponse{Record: withheldProto(l.Name, w), Deleted: rec.Deleted}
	names := map[record.ColumnID]string{}
	for _, t := range l.Records.Tables() {
		if t.ID == rec.Table {
			for _, c := range t.Columns {
				names[c.ID] = c.Name
			}
		}
	}
	err = record.EachCell(string(rec.Cells), func(c record.Cell) {
		name := names[c.Column]
		if name == "" {
			name = fmt.Sprintf("%016x", uint64(c.Column))
		}
		out.Cells = append(out.Cells, &adminv1.WithheldCell{Column: name, Value: strings.ToValidUTF8(c.Value.String(), "�")})
	})
	return out, code(err)
}

// ReleaseWithheld implements the service.
func (s *Service) ReleaseWithheld(ctx context.Context, req *adminv1.ReleaseWithheldRequest) (*adminv1.ReleaseWithheldResponse, error) {
	l, w, _, err := s.find(ctx, req.GetHash())
	if err == nil {
		err = l.Records.Release(ctx, w.Hash)
	}
	return &adminv1.ReleaseWithheldResponse{}, code(err)
}

// DiscardWithheld implements the service.
func (s *Service) DiscardWithheld(ctx context.Context, req *adminv1.DiscardWithheldRequest) (*adminv1.DiscardWithheldResponse, error) {
	l, w, _, err := s.find(ctx, req.GetHash())
	if err == nil {
		err = l.Records.Discard(ctx, w.Hash)
	}
	return &adminv1.DiscardWithheldResponse{}, code(err)
}

// Verify implements the service: an answer for each lane.
func (s *Service) Verify(_ *adminv1.VerifyRequest, stream adminv1.AdminService_VerifyServer) error {
	for _, l := range s.lanes() {
		v, err := l.Records.Verify(stream.Context())
		if err != nil {
			return code(err)
		}
		out := &adminv1.VerifyResponse{
			Lane: l.Name, Rows: uint64(v.Rows), Withheld: uint64(v.Withheld), Writers: uint64(v.Writers), More: uint64(v.More),
		}
		for _, d := range v.Damage {
			out.Damage = append(out.Damage, &adminv1.Damage{Table: d.Table, Key: valuesText(d.Key), What: strings.ToValidUTF8(d.What, "�")})
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
	return nil
}

// code is the one place that says which gRPC code an error has.
func code(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	c := codes.Internal
	switch {
	case errors.Is(err, store.ErrNotWithheld):
		c = codes.NotFound
	case errors.Is(err, store.ErrHeld), errors.Is(err, store.ErrClock):
		c = codes.FailedPrecondition
	case errors.Is(err, store.ErrClosed):
		c = codes.Unavailable
	case errors.Is(err, context.Canceled):
		c = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		c = codes.DeadlineExceeded
	}
	return status.Error(c, err.Error())
}
