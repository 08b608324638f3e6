package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// Any JSON is a statement or refused. One with values by place has as many of
// them as its list; one with names has a value for each parameter.
func FuzzStatement(f *testing.F) {
	for _, s := range []string{
		`"SELECT 1"`, `["SELECT ?", [1, null, true, 1.5, "x", [0, 255], {"k": [1]}, []]]`, `["SELECT :a, ?2", {":a": 1}]`, `["SELECT 1"]`, `["SELECT 1", null]`,
		`{"query": "SELECT $a", "params": null, "named_params": {"$a": 9223372036854775808}}`, `{"query": "x", "params": [], "named_params": {}}`, `[]`, `{}`, `null`, `[[1]]`,
		`["", {"": 1}]`, `["?999999999999", [1]]`, `["?1000 ?", {"?1000": 1}]`, "[\"\xff\", []]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return // refused before
		}
		s, err := parseStatement(raw)
		if err != nil {
			if s.sql != "" || s.args != nil {
				t.Errorf("%s is refused (%v) and gives %+v", raw, err, s)
			}
			var name *parameterError
			if errors.As(err, &name) && !bytes.ContainsRune(raw, '{') {
				t.Errorf("%s has no names, and one is refused", raw)
			}
			return
		}
		var pair []json.RawMessage
		var list []json.RawMessage
		if json.Unmarshal(raw, &pair) != nil || len(pair) != 2 {
			return
		}
		switch {
		case pair[1][0] == '{' && len(s.args) != len(sqltext.Parameters(s.sql)):
			t.Errorf("%s: %d values for %d parameters", raw, len(s.args), len(sqltext.Parameters(s.sql)))
		case pair[1][0] == '[' && json.Unmarshal(pair[1], &list) == nil && len(list) != len(s.args):
			t.Errorf("%s: %d values of %d", raw, len(s.args), len(list))
		}
	})
}
