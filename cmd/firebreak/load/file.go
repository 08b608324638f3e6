package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// maxLine bounds a line of a file: no row is that large.
const maxLine = 4 << 20

// counted counts what is read of a file.
type counted struct {
	r    io.Reader
	read int64
	size int64 // of the whole; zero if nobody knows
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read += int64(n)
	return n, err
}

// Part implements [Source].
func (c *counted) Part() float64 {
	if c.size <= 0 {
		return -1
	}
	return min(float64(c.read)/float64(c.size), 1)
}

// CSV is a file of comma-separated values.
type CSV struct {
	*counted
	r       *csv.Reader
	Columns []string // of each line
	Null    *string  // the field that is NULL; nil for none
}

// NewCSV reads from r, of size bytes or zero. Without columns the first line
// names them.
func NewCSV(r io.Reader, size int64, columns []string) (*CSV, error) {
	in := &counted{r: r, size: size}
	c := &CSV{counted: in, Columns: columns}
	buffered := bufio.NewReader(in)
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		_, _ = buffered.Discard(3)
	}
	c.r = csv.NewReader(buffered)
	c.r.FieldsPerRecord = -1
	if len(columns) > 0 {
		return c, nil
	}
	first, err := c.r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: its first line names the columns")
	}
	c.Columns = first
	return c, err
}

// Each implements [Source].
func (c *CSV) Each(ctx context.Context, fn func(Row) error) error {
	for ctx.Err() == nil {
		fields, err := c.r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		r := Row{Columns: slices.Clone(c.Columns)}
		var bad *csv.ParseError
		switch {
		case errors.As(err, &bad):
			r.Place, r.Err = fmt.Sprintf("line %d", bad.StartLine), fmt.Errorf("bad CSV at line %d, column %d: %w", bad.Line, bad.Column, bad.Err)
		case err != nil:
			return err
		default:
			line, _ := c.r.FieldPos(0)
			r.Place = fmt.Sprintf("line %d", line)
			r.Values, r.Err = c.values(fields)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// values are texts: what a column's type makes of them is for SQLite to say.
func (c *CSV) values(fields []string) ([]cell.Value, error) {
	if len(fields) != len(c.Columns) {
		return nil, fmt.Errorf("%d fields, want %d", len(fields), len(c.Columns))
	}
	out := make([]cell.Value, len(fields))
	for i, f := range fields {
		if c.Null == nil || f != *c.Null {
			out[i] = cell.Value{Type: record.Text, Data: f}
		}
	}
	return out, nil
}

// NDJSON is a file of JSON objects, one a line.
type NDJSON struct {
	*counted
	r *bufio.Reader
}

// NewNDJSON reads from r, of size bytes or zero.
func NewNDJSON(r io.Reader, size int64) *NDJSON {
	in := &counted{r: r, size: size}
	return &NDJSON{in, bufio.NewReaderSize(in, 64<<10)}
}

// Each implements [Source].
func (n *NDJSON) Each(ctx context.Context, fn func(Row) error) error {
	for line := 1; ctx.Err() == nil; line++ {
		text, err := n.line()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		}
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		r := Row{Place: fmt.Sprintf("line %d", line)}
		r.Columns, r.Values, r.Err = object(text)
		if err := fn(r); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// line reads a line, of which no more than maxLine is kept: the rest makes it
// no JSON.
func (n *NDJSON) line() ([]byte, error) {
	var b []byte
	for {
		part, err := n.r.ReadSlice('\n')
		if len(b) <= maxLine {
			b = append(b, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(b) > 0, err == nil:
			return b, nil
		}
		return nil, err
	}
}

// object reads the columns and values of one object.
func object(text []byte) (columns []string, values []cell.Value, err error) {
	if len(text) > maxLine {
		return nil, nil, fmt.Errorf("the line is over %d bytes", maxLine)
	}
	if !utf8.Valid(text) {
		return nil, nil, errors.New(`the line is not UTF-8: write such a text as {"text":"HEX"}`)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.New("is no JSON object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("bad JSON: %w", err)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, nil, fmt.Errorf("bad JSON: %w", err)
		}
		v, err := cell.FromJSON(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("column %v: %w", name, err)
		}
		columns, values = append(columns, name.(string)), append(values, v)
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, fmt.Errorf("bad JSON: %w", err)
	}
	if rest := strings.TrimSpace(string(text[d.InputOffset():])); rest != "" {
		return nil, nil, fmt.Errorf("bad JSON: %.20q follows the object", rest)
	}
	return columns, values, nil
}
