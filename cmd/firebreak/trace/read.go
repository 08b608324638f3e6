package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// The limits of a file.
const (
	MaxMachines = 1_000_000
	MaxLine     = 1 << 20 // bytes of one row, quoted line breaks included
)

// Error is what is wrong with a trace file, and where.
type Error struct {
	File   string
	Line   int
	Reason string
}

// Error gives file:line: reason.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason) }

// Open reads a trace file, plain or gzip. What is wrong with its content is an
// *Error.
func Open(path string, cols Columns) ([]Machine, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer f.Close()
	return Read(f, path, cols)
}

// Read reads a whole trace, row by row. Name stands for the file in errors.
func Read(r io.Reader, name string, cols Columns) ([]Machine, error) {
	rd := &reader{name: name, line: 1, first: map[fleet.MachineID]int{}}
	if err := rd.open(r, cols); err != nil {
		return nil, err
	}
	var out []Machine
	for {
		m, err := rd.next()
		switch {
		case err == io.EOF && len(out) == 0:
			return nil, rd.fail("no rows")
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, err
		case len(out) == MaxMachines:
			return nil, rd.fail("more than %d machines", MaxMachines)
		}
		out = append(out, m)
	}
}

// reader reads one file. Line is where the row in hand begins.
type reader struct {
	name  string
	csv   *csv.Reader
	bound *rowBound
	line  int
	index [4]int // of id, app, create, delete
	first map[fleet.MachineID]int
}

func (r *reader) fail(format string, args ...any) error {
	return &Error{File: r.name, Line: r.line, Reason: fmt.Sprintf(format, args...)}
}

func (r *reader) open(in io.Reader, cols Columns) error {
	buf := bufio.NewReader(in)
	if head, _ := buf.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		zip, err := gzip.NewReader(buf)
		if err != nil {
			return r.fail("%s", ioReason(err))
		}
		buf = bufio.NewReader(zip)
	}
	if head, _ := buf.Peek(3); string(head) == "\ufeff" {
		if _, err := buf.Discard(3); err != nil {
			return r.fail("%s", ioReason(err))
		}
	}
	r.bound = &rowBound{r: buf}
	r.csv = csv.NewReader(r.bound)
	r.csv.ReuseRecord = true
	header, err := r.row()
	if err == io.EOF {
		return r.fail("the file is empty: want a header")
	}
	if err != nil {
		return err
	}
	if err := r.header(header, cols); err != nil {
		return err
	}
	r.line += 1 + newlines(header)
	return nil
}

func (r *reader) header(header []string, cols Columns) error {
	var problems []string
	for i, want := range []string{cols.ID, cols.App, cols.Create, cols.Delete} {
		r.index[i] = -1
		for j, name := range header {
			if name != want {
				continue
			}
			if r.index[i] >= 0 {
				problems = append(problems, fmt.Sprintf("two columns are named %q", want))
			}
			r.index[i] = j
		}
		if r.index[i] < 0 {
			problems = append(problems, fmt.Sprintf("no column %q", want))
		}
	}
	if problems == nil {
		return nil
	}
	return r.fail("%s; the columns are %s", strings.Join(problems, "; "), strings.Join(header, ", "))
}

// row reads one CSV row and sets line to where it began.
func (r *reader) row() ([]string, error) {
	r.bound.left = MaxLine
	row, err := r.csv.Read()
	var parse *csv.ParseError
	switch {
	case err == nil:
		r.line, _ = r.csv.FieldPos(0)
		return row, nil
	case err == io.EOF:
		return nil, err
	case errors.Is(err, csv.ErrFieldCount):
		r.line, _ = r.csv.FieldPos(0)
		return nil, r.fail("the row has %d fields, the header has %d", len(row), r.csv.FieldsPerRecord)
	case errors.As(err, &parse):
		r.line = parse.Line
		return nil, r.fail("%v", parse.Err)
	}
	return nil, r.fail("%s", ioReason(err))
}

func (r *reader) next() (Machine, error) {
	row, err := r.row()
	if err != nil {
		return Machine{}, err // io.EOF after the last row
	}
	m := Machine{
		ID:     fleet.MachineID(strings.Clone(row[r.index[0]])),
		App:    fleet.App(strings.Clone(row[r.index[1]])),
		Create: Before, Delete: Never,
	}
	if err := r.times(&m, row[r.index[2]], row[r.index[3]]); err != nil {
		return Machine{}, err
	}
	if err := errors.Join(m.ID.Check(), m.App.Check()); err != nil {
		return Machine{}, r.fail("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if at, twice := r.first[m.ID]; twice {
		return Machine{}, r.fail("machine id %q stands in line %d too", m.ID, at)
	}
	r.first[m.ID] = r.line
	r.line += 1 + newlines(row) // where the next row begins, should it not be readable
	return m, nil
}

func (r *reader) times(m *Machine, create, del string) (err error) {
	if create != "" {
		if m.Create, err = ParseTime(create); err != nil {
			return r.fail("creation: %v", err)
		}
	}
	if del != "" {
		if m.Delete, err = ParseTime(del); err != nil {
			return r.fail("deletion: %v", err)
		}
	}
	if m.Delete < m.Create {
		return r.fail("deletion at %s is before creation at %s", del, create)
	}
	return nil
}

func newlines(row []string) int {
	n := 0
	for _, field := range row {
		n += strings.Count(field, "\n")
	}
	return n
}

func ioReason(err error) string {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the gzip data ends too early: the file is truncated"
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader):
		return "the gzip data is damaged: " + err.Error()
	}
	return err.Error()
}

// rowBound ends a row that would not end: an unclosed quote must not take the
// rest of the file into memory. The CSV reader reads ahead by one buffer, so
// the bound is exact only to that.
type rowBound struct {
	r    io.Reader
	left int
}

func (b *rowBound) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the row is over the limit of %d bytes", MaxLine)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
