// Package shell is an SQL shell: it reads statements and dot-commands, line by
// line, and prints what a database answers. It knows neither where the lines
// come from nor which database it is. A statement ends with a semicolon and may
// span lines; a dot-command is a line of its own. What fails is said and does
// not end the shell, except in a script.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// Lines gives the lines of a person or a script.
type Lines interface {
	// Line returns the next line, without its end; more says that a statement
	// has begun. It returns io.EOF at the end, and ErrDropped for a line that
	// its writer threw away.
	Line(more bool) (string, error)
	// Remember keeps a statement for a person who wants it again.
	Remember(text string)
}

// ErrDropped says that a person threw away what was typed.
var ErrDropped = errors.New("dropped")

// Result is what one statement gave.
type Result struct {
	Columns  []string
	Rows     [][]Value
	Affected int64    // rows that it wrote
	Points   []string // the changesets that it made
	Standing []string // of a write that changed nothing: what stands instead
	Wrote    bool     // it was no read
}

// Database answers statements.
type Database interface {
	Query(ctx context.Context, sql string) (Result, error)
	Exec(ctx context.Context, sql string) (Result, error)
}

// Config of a shell.
type Config struct {
	DB        Database
	Lines     Lines
	Out, Err  io.Writer
	Mode      Mode // zero means table
	Script    bool // the first failure ends it, unless KeepGoing
	KeepGoing bool
}

// maxText bounds a statement that has not ended: more of it is dropped.
const maxText = sqltext.MaxStatement

// shell is a session.
type shell struct {
	Config
	timer  bool
	failed int
	text   strings.Builder // of statements that have not ended
}

// errQuit ends a session.
var errQuit = errors.New("quit")

// FailedError says how many statements failed; each has been told.
type FailedError struct{ Count int }

func (e *FailedError) Error() string { return fmt.Sprintf("%d statements failed", e.Count) }

// Run reads until the lines end, or .quit. For a script that failed it returns
// a [FailedError].
func Run(ctx context.Context, cfg Config) error {
	if cfg.Mode == "" {
		cfg.Mode = Table
	}
	s := &shell{Config: cfg}
	err := s.run(ctx)
	switch {
	case errors.Is(err, errQuit):
	case err != nil:
		return err
	}
	if s.Script && s.failed > 0 {
		return &FailedError{s.failed}
	}
	return nil
}

func (s *shell) run(ctx context.Context) error {
	for {
		line, err := s.Lines.Line(s.text.Len() > 0)
		switch {
		case errors.Is(err, ErrDropped):
			s.text.Reset()
			continue
		case errors.Is(err, io.EOF):
			return s.rest(ctx)
		case err != nil:
			return fmt.Errorf("read statements: %w", err)
		}
		if err := s.line(ctx, line); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// rest runs what a script does not end with a semicolon.
func (s *shell) rest(ctx context.Context) error {
	text := s.text.String()
	if !s.Script || empty(text) {
		return nil
	}
	s.text.Reset()
	return s.statement(ctx, text)
}

// line takes one line; an error ends the session.
func (s *shell) line(ctx context.Context, line string) error {
	if s.text.Len() == 0 {
		switch text := strings.TrimSpace(line); {
		case text == "" || strings.HasPrefix(text, "#"):
			return nil
		case strings.HasPrefix(text, "."):
			s.Lines.Remember(text)
			return s.judge(s.dot(ctx, text))
		}
	}
	if s.text.Len()+len(line) > maxText {
		s.text.Reset()
		return s.judge(fmt.Errorf("the statement is over %d bytes and is dropped: end it with a semicolon", maxText))
	}
	s.text.WriteString(line)
	s.text.WriteByte('\n')
	if !strings.Contains(line, ";") {
		return nil
	}
	stmts, rest := Split(s.text.String())
	s.text.Reset()
	if !empty(rest) {
		s.text.WriteString(rest)
	}
	for _, stmt := range stmts {
		s.Lines.Remember(strings.TrimSpace(stmt) + ";")
		if err := s.statement(ctx, stmt); err != nil {
			return err
		}
	}
	return nil
}

// statement runs one statement and prints its result.
func (s *shell) statement(ctx context.Context, sql string) error {
	start := time.Now()
	run := s.DB.Exec
	if Reads(sql) {
		run = s.DB.Query
	}
	r, err := run(ctx, sql)
	if err == nil {
		err = s.print(r)
	}
	if s.timer {
		fmt.Fprintf(s.Err, "run time: %.3f ms\n", time.Since(start).Seconds()*1000)
	}
	return s.judge(err)
}

// judge tells a failure, and ends a script that does not go on after it.
func (s *shell) judge(err error) error {
	if err == nil || errors.Is(err, errQuit) {
		return err
	}
	s.failed++
	fmt.Fprintln(s.Err, "error:", err)
	if s.Script && !s.KeepGoing {
		return errQuit
	}
	return nil
}
