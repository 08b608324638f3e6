package shell

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Script reads lines of a script.
type Script struct {
	r     *bufio.Reader
	begun bool
}

// mark is what some editors put before a text, to say that it is UTF-8.
const mark = "\xef\xbb\xbf"

// NewScript reads from r.
func NewScript(r io.Reader) *Script { return &Script{r: bufio.NewReader(r)} }

// Line implements [Lines]. A line longer than a statement may be is an error.
func (s *Script) Line(bool) (string, error) {
	if !s.begun {
		s.begun = true
		if b, err := s.r.Peek(len(mark)); err == nil && string(b) == mark {
			_, _ = s.r.Discard(len(mark)) // what was peeked at is there
		}
	}
	var b []byte
	for {
		part, err := s.r.ReadSlice('\n')
		b = append(b, part...)
		switch {
		case len(b) > maxText+1:
			return "", fmt.Errorf("a line is over %d bytes", maxText)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(b) > 0, err == nil:
			return strings.TrimRight(string(b), "\r\n"), nil
		}
		return "", err
	}
}

// Remember implements [Lines].
func (*Script) Remember(string) {}
