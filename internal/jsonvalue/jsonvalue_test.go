package jsonvalue_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/record"
)

func blob(s string) record.Value { return record.Value{Type: record.Blob, Data: s} }

func TestParameters(t *testing.T) {
	for raw, want := range map[string]record.Value{
		"null": {}, "true": record.Of(true), "-5": record.Of(-5), "1.0": record.Of(1.0), "1e3": record.Of(1000.0), `"x\u0000y"`: record.Of("x\x00y"),
		"9223372036854775807": record.Of(int64(math.MaxInt64)), "9223372036854775808": record.Of(9223372036854775808.0),
		"[]": blob(""), "[ ]": blob(""), "[0, 255 ,1]": blob("\x00\xff\x01"), "[256]": record.Of("[256]"), "[1.0]": record.Of("[1.0]"), "[-1]": record.Of("[-1]"),
		"[1,[2]]": record.Of("[1,[2]]"), "[[]]": record.Of("[[]]"), `["a"]`: record.Of(`["a"]`), "[true]": record.Of("[true]"), "[1e1]": record.Of("[1e1]"),
		`{"k": [1]}`: record.Of(`{"k": [1]}`), "[0000]": record.Of("[0000]"),
	} {
		if got, err := jsonvalue.Parse(json.RawMessage(raw)); err != nil || !got.Equal(want) {
			t.Errorf("%s is %v, %v; want %v", raw, got, err, want)
		}
	}
	if _, err := jsonvalue.Parse(json.RawMessage("1e999")); err == nil {
		t.Error("1e999 is a number")
	}
}

// A blob of a whole body costs about what it is, and no object for each byte.
func TestBlobsAreReadInPlace(t *testing.T) {
	raw := json.RawMessage("[" + strings.Repeat("255,", 1<<18) + "7]")
	if n := testing.AllocsPerRun(3, func() { _, _ = jsonvalue.Parse(raw) }); n > 64 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"null", "[1, 2]", `{"a": 1}`, `"\ud800"`, "-0", "1e400", "[256]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw := json.RawMessage(strings.TrimSpace(s))
		if !json.Valid(raw) {
			return
		}
		v, err := jsonvalue.Parse(raw)
		if err != nil {
			return
		}
		if out := jsonvalue.Append(nil, v); !json.Valid(out) {
			t.Errorf("%s comes back as %s", s, out)
		}
		var numbers []json.Number // what the standard library takes for bytes
		isBytes := raw[0] == '[' && json.Unmarshal(raw, &numbers) == nil && !strings.ContainsAny(s, `"nu.eE-`)
		for _, n := range numbers {
			i, err := n.Int64()
			isBytes = isBytes && err == nil && i <= 255
		}
		if isBytes != (v.Type == record.Blob) || isBytes && len(v.Data) != len(numbers) {
			t.Errorf("%s is read as %v", s, v)
		}
	})
}
