// Package jsonvalue is how values of SQLite are written as JSON, and read from
// it: as Corrosion's clients do.
package jsonvalue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Append appends a value as JSON: integers with all their digits, reals
// so that they look like reals (2.0, 1e300), infinity as null, a blob as an
// array of its bytes.
func Append(b []byte, v record.Value) []byte {
	switch v.Type {
	case record.Integer:
		return strconv.AppendInt(b, v.Int, 10)
	case record.Real:
		return AppendReal(b, v.Real)
	case record.Text:
		return AppendText(b, v.Data)
	case record.Blob:
		b = append(b, '[')
		for i := range len(v.Data) {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendUint(b, uint64(v.Data[i]), 10)
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

// AppendReal appends a real so that it looks like one: as Corrosion does, with
// an exponent below 1e-5 and from 1e16 on.
func AppendReal(b []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(b, "null"...)
	}
	from, abs := len(b), math.Abs(f)
	if abs == 0 || abs >= 1e-5 && abs < 1e16 {
		b = strconv.AppendFloat(b, f, 'f', -1, 64)
		if !bytes.Contains(b[from:], []byte(".")) {
			b = append(b, ".0"...)
		}
		return b
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	// e+05 and e-07 are e5 and e-7 elsewhere.
	digits := from + bytes.IndexByte(b[from:], 'e') + 2
	exponent := bytes.TrimLeft(b[digits:], "0")
	if b[digits-1] == '+' {
		digits--
	}
	return append(b[:digits], exponent...)
}

// AppendText appends a JSON string. What is no UTF-8 becomes U+FFFD: JSON
// cannot say it.
func AppendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0 // what is not appended yet
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[from:i]...), "\ufffd"...)
				from = i + 1
			}
			i += n
			continue
		}
		b = append(b, s[from:i]...)
		if at := strings.IndexByte("\"\\\b\f\n\r\t", c); at >= 0 {
			b = append(b, '\\', "\"\\bfnrt"[at])
		} else {
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(append(b, s[from:]...), '"')
}

// Exact reports what of valid JSON no text can hold: bytes that are no UTF-8,
// or half of a surrogate pair. Package encoding/json reads another character
// instead, and nobody would hear of it.
func Exact(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("invalid unicode code point: it is not UTF-8")
	}
	high := false // the last thing was the first half of a pair
	for i := 0; i < len(raw); i++ {
		unit := uint64(0)
		if raw[i] == '\\' && i+1 < len(raw) {
			if i++; raw[i] == 'u' && i+4 < len(raw) {
				unit, _ = strconv.ParseUint(string(raw[i+1:i+5]), 16, 16)
				i += 4
			}
		}
		if low := unit>>10 == 0xdc00>>10; low != high {
			return errors.New("half of a surrogate pair in a string")
		}
		high = unit>>10 == 0xd800>>10
	}
	return nil
}

// AppendRow appends a list of values.
func AppendRow(b []byte, vs []record.Value) []byte {
	b = append(b, '[')
	for i, v := range vs {
		if i > 0 {
			b = append(b, ',')
		}
		b = Append(b, v)
	}
	return append(b, ']')
}

// Parse reads a parameter. A list of integers from 0 to 255, the empty
// one too, is a blob; any other list, and any object, is its own JSON text. A
// whole number beyond 64 bits is a real.
func Parse(raw json.RawMessage) (record.Value, error) {
	switch c := raw[0]; c {
	case 'n':
		return record.Value{}, nil
	case 't':
		return record.Of(true), nil
	case 'f':
		return record.Of(false), nil
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return record.Value{}, err
		}
		return record.Of(s), nil
	case '[':
		if b, ok := parseBytes(raw); ok {
			return record.Value{Type: record.Blob, Data: b}, nil
		}
		return record.Of(string(raw)), nil
	case '{':
		return record.Of(string(raw)), nil
	}
	return parseNumber(string(raw))
}

func parseNumber(s string) (record.Value, error) {
	if !strings.ContainsAny(s, ".eE") {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return record.Of(n), nil
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return record.Value{}, fmt.Errorf("number %s is out of range", s)
	}
	return record.Of(f), nil
}

// parseBytes reads [0, 255, …], of JSON that is known to be valid. It makes
// nothing of its numbers on the way: a body may hold millions.
func parseBytes(raw json.RawMessage) (string, bool) {
	var out []byte
	number, digits := 0, 0
	for _, c := range bytes.TrimSpace(raw)[1:] {
		switch {
		case c >= '0' && c <= '9':
			if number, digits = number*10+int(c-'0'), digits+1; digits > 3 || number > math.MaxUint8 {
				return "", false
			}
		case c == ',' || c == ']':
			if digits > 0 {
				out = append(out, byte(number))
			}
			number, digits = 0, 0
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			return "", false
		}
	}
	return string(out), true
}
