package configfile

import (
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Locate returns problems about data with the places of their keys, in the
// order of the file. A key that the file does not set keeps no place and comes
// first: something is missing.
func Locate(file string, data []byte, problems []Problem) Problems {
	at := positions(data)
	out := make(Problems, len(problems))
	for i, p := range problems {
		p.File = file
		if pos, ok := at[p.Key]; ok {
			p.Line, p.Column = pos.Line, pos.Column
		}
		out[i] = p
	}
	sortProblems(out)
	return out
}

// positions returns where each key of data is set. Text that does not parse
// ends the reading: Decode has said so.
func positions(data []byte) map[string]unstable.Position {
	at := map[string]unstable.Position{}
	var p unstable.Parser
	p.Reset(data)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		var parts []string
		var first unstable.Position
		for it := e.Key(); it.Next(); {
			if len(parts) == 0 {
				first = p.Shape(it.Node().Raw).Start
			}
			parts = append(parts, string(it.Node().Data))
		}
		key := strings.Join(parts, ".")
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = key + "."
			at[key] = first
		case unstable.KeyValue:
			at[table+key] = first
		}
	}
	return at
}
