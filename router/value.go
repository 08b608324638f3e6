package router

import (
	"math"

	"github.com/firebreak-dev/firebreak/internal/record"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
)

func fromRows(rows []*clusterv1.Row) [][]record.Value {
	out := make([][]record.Value, len(rows))
	for i, r := range rows {
		out[i] = make([]record.Value, len(r.GetValues()))
		for j, v := range r.GetValues() {
			out[i][j] = fromValue(v)
		}
	}
	return out
}

func fromValue(v *clusterv1.Value) record.Value {
	switch k := v.GetKind().(type) {
	case *clusterv1.Value_Integer:
		return record.Value{Type: record.Integer, Int: k.Integer}
	case *clusterv1.Value_Real:
		if math.IsNaN(k.Real) {
			return record.Value{}
		}
		return record.Value{Type: record.Real, Real: k.Real}
	case *clusterv1.Value_Text:
		return record.Value{Type: record.Text, Data: string(k.Text)}
	case *clusterv1.Value_Blob:
		return record.Value{Type: record.Blob, Data: string(k.Blob)}
	}
	return record.Value{}
}

func toRows(rows [][]record.Value) []*clusterv1.Row {
	out := make([]*clusterv1.Row, len(rows))
	for i, r := range rows {
		out[i] = &clusterv1.Row{Values: make([]*clusterv1.Value, len(r))}
		for j, v := range r {
			out[i].Values[j] = toValue(v)
		}
	}
	return out
}

func toValue(v record.Value) *clusterv1.Value {
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
