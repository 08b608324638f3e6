package configfile

import (
	"reflect"
	"slices"
	"strings"
)

// Field is one key that a configuration struct knows.
type Field struct {
	Key     string // dotted
	Kind    string // "string", "integer", "number", "boolean", "list of strings"
	Comment string // of its tag doc
	Value   reflect.Value
}

// Fields lists the keys of the struct that v is or points at, in its order.
// The names are those of its toml tags.
func Fields(v any) []Field {
	return appendFields(nil, "", reflect.Indirect(reflect.ValueOf(v)))
}

func appendFields(out []Field, prefix string, v reflect.Value) []Field {
	if v.Kind() != reflect.Struct {
		return out
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if f.Anonymous && name == "" {
			out = appendFields(out, prefix, v.Field(i))
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		if f.Type.Kind() == reflect.Struct {
			out = appendFields(out, prefix+name+".", v.Field(i))
			continue
		}
		out = append(out, Field{Key: prefix + name, Kind: kindOf(f.Type), Comment: f.Tag.Get("doc"), Value: v.Field(i)})
	}
	return out
}

// kindOf gives the word for a type's values in a file.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + kindOf(t.Elem()) + "s"
	}
	return "integer"
}

// keysOf lists the keys of v and its tables.
func keysOf(v any) []string {
	var out []string
	for _, f := range Fields(v) {
		if table, _, ok := strings.Cut(f.Key, "."); ok && !slices.Contains(out, table) {
			out = append(out, table)
		}
		out = append(out, f.Key)
	}
	return out
}

// wanted describes the value that the key takes, or is empty for no key.
func wanted(key []string, into any) string {
	dotted := strings.Join(key, ".")
	for _, f := range Fields(into) {
		if f.Key != dotted {
			continue
		}
		if strings.ContainsRune("aeiou", rune(f.Kind[0])) {
			return "an " + f.Kind
		}
		return "a " + f.Kind
	}
	return ""
}

// nearest returns the known key that is fewest edits away from key, or "" if
// none is near.
func nearest(key string, known []string) string {
	best, distance := "", max(2, len(key)/3)+1
	for _, k := range known {
		d := min(edits(key, k), edits(last(key), last(k))+1)
		if d < distance {
			best, distance = k, d
		}
	}
	return best
}

func last(key string) string { return key[strings.LastIndexByte(key, '.')+1:] }

// edits is the Levenshtein distance of a and b, with '-' and '_' as one letter.
func edits(a, b string) int {
	a, b = strings.ReplaceAll(a, "-", "_"), strings.ReplaceAll(b, "-", "_")
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := slices.Clone(row)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
		}
		row = next
	}
	return row[len(b)]
}
