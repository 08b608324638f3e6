// Package screen keeps a few lines at the bottom of a terminal up to date,
// while others scroll by above them.
package screen

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Screen is a terminal. Safe for concurrent use.
type Screen struct {
	// Set by New, then constant.
	out   io.Writer
	width func() int
	color bool

	mu    sync.Mutex
	block []string // the lines at the bottom
	ended bool
}

// New makes a screen of a terminal with so many columns. Color allows more
// than one.
func New(out io.Writer, width func() int, color bool) *Screen {
	return &Screen{out: out, width: width, color: color}
}

// defaultWidth is that of a terminal that does not say.
const defaultWidth = 80

// Terminal returns the width of a terminal, now and later; false if w is none.
func Terminal(w io.Writer) (width func() int, ok bool) {
	f, ok := w.(*os.File)
	if !ok {
		return nil, false
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil, false
	}
	return func() int {
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil || size.Col == 0 {
			return defaultWidth
		}
		return int(size.Col)
	}, true
}

// The sequences of ECMA-48 that every terminal knows.
const (
	eraseBelow = "\x1b[J"
	red        = "\x1b[31m"
	plain      = "\x1b[0m"
)

// Alert marks a line that wants to be seen.
const Alert = "! "

// Line writes a line to w above the block. W is the terminal, or anything else.
func (s *Screen) Line(w io.Writer, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintln(w, line)
	s.draw()
}

// Show replaces the block.
func (s *Screen) Show(block []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.erase()
	s.block = block
	s.draw()
}

// End takes the block away for good.
func (s *Screen) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.block, s.ended = nil, true
}

// erase leaves the cursor where the block began.
func (s *Screen) erase() {
	if len(s.block) > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\r%s", len(s.block), eraseBelow)
	}
}

func (s *Screen) draw() {
	var b strings.Builder
	width := s.width()
	for _, line := range s.block {
		line = cut(line, width-1) // one that wraps would count as two
		if s.color && strings.HasPrefix(line, Alert) {
			line = red + line + plain
		}
		b.WriteString(line + "\n")
	}
	_, _ = io.WriteString(s.out, b.String()) // a terminal that is gone shows nothing
}

func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(width, 0)])
}
