package sqltext

import "strconv"

// Parameters returns the names of a statement's parameters by their number,
// with their mark, as SQLite gives them; those written as a mere question mark
// are empty.
func Parameters(sql string) []string {
	var names []string
	EachParameter(Lex(sql), func(_ Token, number int, name string) {
		for len(names) < number {
			names = append(names, "")
		}
		if names[number-1] == "" {
			names[number-1] = name // the first name that a number has stays
		}
	})
	return names
}

// maxParameter is SQLite's limit of a parameter's number.
const maxParameter = 32766

// EachParameter calls fn for every place where a parameter stands, with its
// number, counted from 1, and its name.
func EachParameter(tokens []Token, fn func(at Token, number int, name string)) {
	last, known := 0, map[string]int{}
	for _, t := range tokens {
		if t.Kind != Parameter {
			continue
		}
		number, name := last+1, ""
		if t.Text != "?" {
			name = t.Text
			if known[name] == 0 {
				known[name] = number
				if n, err := strconv.Atoi(name[1:]); name[0] == '?' {
					if err != nil || n < 1 || n > maxParameter {
						continue // SQLite refuses it
					}
					known[name] = n
				}
			}
			number = known[name]
		}
		last = max(last, number)
		fn(t, number, name)
	}
}
