package sqltext

import "strconv"

// Parameters returns the names of a statement's parameters by their number,
// with their prefix, as SQLite numbers them; those without a name are empty.
func Parameters(sql string) []string {
	var names []string
	EachParameter(Lex(sql), func(_ Token, number int, name string) {
		for len(names) < number {
			names = append(names, "")
		}
		names[number-1] = name
	})
	return names
}

// maxParameter is SQLite's limit of a parameter's number.
const maxParameter = 32766

// EachParameter calls fn for every place where a parameter stands, with its
// number, counted from 1. The token spans all of it.
func EachParameter(tokens []Token, fn func(at Token, number int, name string)) {
	last, known := 0, map[string]int{}
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		joined := i+1 < len(tokens) && tokens[i+1].Pos == t.End
		name := ""
		number := 0
		switch {
		case t.Kind == Other && t.Text == "?" && joined && tokens[i+1].Kind == Number:
			i++
			n, err := strconv.Atoi(tokens[i].Text)
			if err != nil || n < 1 || n > maxParameter {
				continue // SQLite refuses it
			}
			t.End, number = tokens[i].End, n
		case t.Kind == Other && t.Text == "?":
			number = last + 1
		case t.Kind == Other && (t.Text == ":" || t.Text == "@") && joined && (tokens[i+1].Kind == Word || tokens[i+1].Kind == Number):
			i++
			t.End = tokens[i].End
			name = t.Text + tokens[i].Text
		case t.Kind == Word && t.Text[0] == '$' && len(t.Text) > 1:
			name = t.Text
		default:
			continue
		}
		if name != "" {
			if number = known[name]; number == 0 {
				number = last + 1
				known[name] = number
			}
		}
		last = max(last, number)
		fn(t, number, name)
	}
}
