// Package cell is a value of SQLite as the commands print and read it: a
// documented contract, docs/reference/cli.md.
package cell

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/firebreak-dev/firebreak/internal/record"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
)

// Value is one value. In JSON: null; an integer as a number with all its
// digits; a real as a number with a point or exponent, or {"real":"inf"} and
// {"real":"-inf"}; text as a string, or {"text":"hex"} if it is not UTF-8; a
// blob as {"blob":"hex"}.
type Value record.Value

// FromProto returns a value of an answer.
func FromProto(v *clusterpb.Value) Value {
	switch k := v.GetKind().(type) {
	case *clusterpb.Value_Integer:
		return Value{Type: record.Integer, Int: k.Integer}
	case *clusterpb.Value_Real:
		return Value(record.Of(k.Real))
	case *clusterpb.Value_Text:
		return Value{Type: record.Text, Data: string(k.Text)}
	case *clusterpb.Value_Blob:
		return Value{Type: record.Blob, Data: string(k.Blob)}
	}
	return Value{}
}

// Proto is the value in a request.
func (v Value) Proto() *clusterpb.Value {
	switch v.Type {
	case record.Integer:
		return &clusterpb.Value{Kind: &clusterpb.Value_Integer{Integer: v.Int}}
	case record.Real:
		return &clusterpb.Value{Kind: &clusterpb.Value_Real{Real: v.Real}}
	case record.Text:
		return &clusterpb.Value{Kind: &clusterpb.Value_Text{Text: []byte(v.Data)}}
	case record.Blob:
		return &clusterpb.Value{Kind: &clusterpb.Value_Blob{Blob: []byte(v.Data)}}
	}
	return &clusterpb.Value{}
}

// FromRow returns the values of a row.
func FromRow(r *clusterpb.Row) []Value {
	out := make([]Value, len(r.GetValues()))
	for i, v := range r.GetValues() {
		out[i] = FromProto(v)
	}
	return out
}

// MarshalJSON gives the documented form.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.Type {
	case record.Integer:
		return strconv.AppendInt(nil, v.Int, 10), nil
	case record.Real:
		return realJSON(v.Real), nil
	case record.Text:
		if !utf8.ValidString(v.Data) {
			return fmt.Appendf(nil, `{"text":"%x"}`, v.Data), nil
		}
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(v.Data)
		return []byte(strings.TrimSuffix(b.String(), "\n")), err
	case record.Blob:
		return fmt.Appendf(nil, `{"blob":"%x"}`, v.Data), nil
	}
	return []byte("null"), nil
}

// realJSON keeps a real from being read back as an integer.
func realJSON(f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return []byte(`{"real":"inf"}`)
	case math.IsInf(f, -1):
		return []byte(`{"real":"-inf"}`)
	}
	b := strconv.AppendFloat(nil, f, 'g', -1, 64)
	if !strings.ContainsAny(string(b), ".e") {
		b = append(b, '.', '0')
	}
	return b
}

// Text is the value in a table.
func (v Value) Text() string {
	switch v.Type {
	case record.Integer:
		return strconv.FormatInt(v.Int, 10)
	case record.Real:
		return strings.Trim(strings.NewReplacer(`{"real":"`, "", `"}`, "").Replace(string(realJSON(v.Real))), `"`)
	case record.Text:
		return v.Data
	case record.Blob:
		return "x'" + hex.EncodeToString([]byte(v.Data)) + "'"
	}
	return "NULL"
}

// Parse reads an argument of a query: the documented JSON form, or any
// other text as it stands.
func Parse(s string) (Value, error) {
	switch {
	case s == "null":
		return Value{}, nil
	case strings.HasPrefix(s, `{"blob":`), strings.HasPrefix(s, `{"text":`), strings.HasPrefix(s, `{"real":`):
		return parseTagged(s)
	case strings.HasPrefix(s, `"`):
		var text string
		if err := json.Unmarshal([]byte(s), &text); err != nil {
			return Value{}, fmt.Errorf("argument %s: %w", s, err)
		}
		return Value{Type: record.Text, Data: text}, nil
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil && strconv.FormatInt(i, 10) == s {
		return Value{Type: record.Integer, Int: i}, nil
	}
	if strings.ContainsAny(s, ".eE") && strings.Trim(s, "0123456789.eE+-") == "" {
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return Value{Type: record.Real, Real: f}, nil
		}
	}
	return Value{Type: record.Text, Data: s}, nil
}

// FromJSON reads a value of the documented form. True and false are 1 and 0;
// any other object, and any list, is its own JSON text. What 64 bits do not
// hold is refused.
func FromJSON(raw json.RawMessage) (Value, error) {
	text := strings.TrimSpace(string(raw))
	switch {
	case text == "":
		return Value{}, errors.New("no value")
	case text == "null":
		return Value{}, nil
	case text == "true":
		return Value{Type: record.Integer, Int: 1}, nil
	case text == "false":
		return Value{Type: record.Integer}, nil
	case text[0] == '"':
		v, err := Parse(text)
		if err == nil && strings.ContainsRune(v.Data, utf8.RuneError) && !strings.ContainsRune(text, utf8.RuneError) && !strings.Contains(strings.ToLower(text), `\ufffd`) {
			return Value{}, errors.New("half a surrogate pair is no text")
		}
		return v, err
	case text[0] == '{':
		if v, err := parseTagged(text); err == nil {
			return v, nil
		}
		return Value{Type: record.Text, Data: text}, nil
	case text[0] == '[':
		return Value{Type: record.Text, Data: text}, nil
	}
	if !strings.ContainsAny(text, ".eE") {
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Value{}, fmt.Errorf("%.40s is no integer of 64 bits: write it as a text, or with an exponent", text)
		}
		return Value{Type: record.Integer, Int: i}, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Value{}, fmt.Errorf("%.40s is no number", text)
	}
	return Value{Type: record.Real, Real: f}, nil
}

func parseTagged(s string) (Value, error) {
	var tagged map[string]string
	if err := json.Unmarshal([]byte(s), &tagged); err != nil || len(tagged) != 1 {
		return Value{}, fmt.Errorf(`argument %s: want {"blob":"hex"}, {"text":"hex"} or {"real":"inf"}`, s)
	}
	for kind, text := range tagged {
		if kind != "real" && kind != "text" && kind != "blob" {
			return Value{}, fmt.Errorf("argument %s: no kind of value", s)
		}
		if kind == "real" {
			f, err := strconv.ParseFloat(text, 64)
			if err != nil || math.IsNaN(f) {
				return Value{}, fmt.Errorf("argument %s: no real number", s)
			}
			return Value{Type: record.Real, Real: f}, nil
		}
		data, err := hex.DecodeString(text)
		if err != nil {
			return Value{}, fmt.Errorf("argument %s: %w", s, err)
		}
		if kind == "text" {
			return Value{Type: record.Text, Data: string(data)}, nil
		}
		return Value{Type: record.Blob, Data: string(data)}, nil
	}
	return Value{}, nil
}

// Printable keeps a text from moving the cursor or breaking the columns of a
// terminal: what comes from a row is shown, not obeyed.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
