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

// Reals and texts are written as Corrosion writes them, to the byte: people
// compare lines.
func TestRealsAndTextsLookAsTheyDoElsewhere(t *testing.T) {
	for in, want := range map[float64]string{
		0: "0.0", math.Copysign(0, -1): "-0.0", 2: "2.0", -1.5: "-1.5", 1e6: "1000000.0", 1706842979.63: "1706842979.63", 1e15: "1000000000000000.0",
		1e16: "1e16", 1e300: "1e300", -1.25e20: "-1.25e20", 1e-5: "0.00001", 1.8e-7: "1.8e-7", 5e-324: "5e-324", 9007199254740993: "9007199254740992.0",
		math.Inf(1): "null", math.Inf(-1): "null", math.NaN(): "null",
	} {
		if got := string(jsonvalue.AppendReal([]byte("e5"), in)); got != "e5"+want {
			t.Errorf("%v is %s, want %s", in, got[2:], want)
		}
	}
	for in, want := range map[string]string{
		"": `""`, "<a href='x'>&": `"<a href='x'>&"`, "\"\\/": `"\"\\/"`, "\b\f\n\r\t": `"\b\f\n\r\t"`, "\x00\x1f\x7f": "\"\\u0000\\u001f\x7f\"",
		"é\u2028😀": "\"é\u2028😀\"", "a\xffb\xed\xa0\x80": "\"a\ufffdb\ufffd\ufffd\ufffd\"", "\ufffd": "\"\ufffd\"",
	} {
		if got := string(jsonvalue.AppendText(nil, in)); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

// What would be read as another text than was sent is told of.
func TestTextThatCannotBe(t *testing.T) {
	for raw, ok := range map[string]bool{
		`"x"`: true, `"é😀"`: true, `"\ud83d\ude00"`: true, `"\uD83D\uDE00!"`: true, `"\\ud800"`: true, `"\\\\ud800"`: true, `["\u0041\udfffx"]`: false,
		`"\ud800"`: false, `"\ud800x"`: false, `"\udc00"`: false, `"\ud800\ud800\udc00"`: false, `"\ud800\n"`: false, "\"\xff\"": false, "\"\xed\xa0\x80\"": false,
		`{"\ude00": 1}`: false, `["\ud83d", "\ude00"]`: false, `"\\\ud800"`: false,
	} {
		if err := jsonvalue.Exact([]byte(raw)); (err == nil) != ok {
			t.Errorf("%s: %v", raw, err)
		}
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
		out := jsonvalue.Append(nil, v)
		if !json.Valid(out) {
			t.Errorf("%s comes back as %s", s, out)
		}
		var text string
		if v.Type == record.Text && json.Unmarshal(out, &text) == nil && text != strings.ToValidUTF8(v.Data, "\ufffd") {
			t.Errorf("%q comes back as %q", v.Data, text)
		}
		lost := raw[0] == '"' && strings.Contains(v.Data, "\ufffd") && !strings.Contains(s, "\ufffd") && !strings.Contains(strings.ToLower(s), `\ufffd`)
		if lost && jsonvalue.Exact(raw) == nil {
			t.Errorf("%s is read as %q", s, v.Data)
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
