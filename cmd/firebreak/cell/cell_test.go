package cell_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/internal/record"
)

func TestEveryValueIsReadAsItIsPrinted(t *testing.T) {
	for _, v := range []cell.Value{
		{}, {Type: record.Integer, Int: math.MinInt64}, {Type: record.Integer, Int: 9007199254740993}, {Type: record.Real, Real: 2}, {Type: record.Real, Real: 1e300},
		{Type: record.Real, Real: math.Inf(1)}, {Type: record.Real, Real: math.Inf(-1)}, {Type: record.Text, Data: "a\"<\x00\u2028"}, {Type: record.Text, Data: "\uFFFD"},
		{Type: record.Text, Data: "\xff"}, {Type: record.Text}, {Type: record.Blob}, {Type: record.Blob, Data: "\x00\xff"},
	} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cell.FromJSON(raw); err != nil || got != v {
			t.Errorf("%s is read as %+v, %v", raw, got, err)
		}
	}
}

func TestJSONThatIsNoValueOfOursIsTextOrRefused(t *testing.T) {
	text := func(s string) cell.Value { return cell.Value{Type: record.Text, Data: s} }
	for raw, want := range map[string]cell.Value{
		`{"a":"00"}`: text(`{"a":"00"}`), `[1, 2]`: text(`[1, 2]`), `{"blob":"00","x":"00"}`: text(`{"blob":"00","x":"00"}`),
		`true`: {Type: record.Integer, Int: 1}, `false`: {Type: record.Integer}, `1e2`: {Type: record.Real, Real: 100},
	} {
		if got, err := cell.FromJSON(json.RawMessage(raw)); err != nil || got != want {
			t.Errorf("%s: %+v %v", raw, got, err)
		}
	}
	for _, raw := range []string{"", "9223372036854775808", "1e999", `"\ud800"`} {
		if got, err := cell.FromJSON(json.RawMessage(raw)); err == nil {
			t.Errorf("%s is read as %+v", raw, got)
		}
	}
}
