package read

import (
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
)

// FromProto reads a value as it travels.
func FromProto(v *clusterv1.Value) record.Value {
	switch k := v.GetKind().(type) {
	case *clusterv1.Value_Integer:
		return record.Of(k.Integer)
	case *clusterv1.Value_Real:
		return record.Of(k.Real)
	case *clusterv1.Value_Text:
		return record.Of(string(k.Text))
	case *clusterv1.Value_Blob:
		return record.Value{Type: record.Blob, Data: string(k.Blob)}
	}
	return record.Value{}
}

// ToProto is the other way.
func ToProto(v record.Value) *clusterv1.Value {
	switch v.Type {
	case record.Integer:
		return &clusterv1.Value{Kind: &clusterv1.Value_Integer{Integer: v.Int}}
	case record.Real:
		return &clusterv1.Value{Kind: &clusterv1.Value_Real{Real: v.Real}}
	case record.Text:
		return &clusterv1.Value{Kind: &clusterv1.Value_Text{Text: []byte(v.Data)}}
	case record.Blob:
		return &clusterv1.Value{Kind: &clusterv1.Value_Blob{Blob: []byte(v.Data)}}
	}
	return &clusterv1.Value{}
}

// RowProto is a row as it travels.
func RowProto(r store.Row) *clusterv1.Row {
	out := &clusterv1.Row{Values: make([]*clusterv1.Value, len(r))}
	for i, v := range r {
		out.Values[i] = ToProto(v)
	}
	return out
}
