// Package configfile reads TOML strictly: a key that the program does not know
// is refused with its line and the nearest key that it does know, because a
// misspelt setting that is ignored is found in an outage.
package configfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 1 << 20

// Problem is one thing wrong with a file.
type Problem struct {
	File         string
	Line, Column int    // 1-based; zero if it has no place, as a missing key
	Key          string // dotted; empty if it is not about a key
	Text         string
}

// Error gives file:line:column: key: text.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	return b.String() + ": " + p.Text
}

// Problems is everything wrong with a file, in its order.
type Problems []Problem

// Error gives one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func sortProblems(ps Problems) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Read reads file and decodes it into the struct that into points at. An error
// of the text is Problems.
func Read(file string, into any) ([]byte, error) {
	data, err := Content(file)
	if err != nil {
		return nil, err
	}
	return data, Decode(file, data, into)
}

// Content returns what is in file, which may be a pipe or a device, up to
// MaxSize.
func Content(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("%s: over the limit of %d bytes", file, MaxSize)
	}
	return data, err
}

// Decode decodes data, which is called file in errors, into the struct that
// into points at. An error is Problems.
func Decode(file string, data []byte, into any) error {
	dec := toml.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return unknownKeys(file, unknown, into)
	case errors.As(err, &wrong):
		line, column := wrong.Position()
		return Problems{{File: file, Line: line, Column: column, Key: strings.Join(wrong.Key(), "."), Text: wrongValue(wrong, into)}}
	}
	return Problems{{File: file, Text: strings.TrimPrefix(err.Error(), "toml: ")}}
}

// unknownKeys lists the keys of the document that have no field, each with the
// nearest that has one.
func unknownKeys(file string, missing *toml.StrictMissingError, into any) Problems {
	known := keysOf(into)
	var out Problems
	for i := range missing.Errors {
		e := &missing.Errors[i]
		line, column := e.Position()
		key := strings.Join(e.Key(), ".")
		text := "unknown key"
		if near := nearest(key, known); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
		out = append(out, Problem{File: file, Line: line, Column: column, Key: key, Text: text})
	}
	return out
}

// wrongValue says what kind of value a key wants, in TOML's words and not Go's.
func wrongValue(e *toml.DecodeError, into any) string {
	text := strings.TrimPrefix(e.Error(), "toml: ")
	if want := wanted(e.Key(), into); want != "" && strings.Contains(text, "into") {
		return "want " + want
	}
	return text
}
