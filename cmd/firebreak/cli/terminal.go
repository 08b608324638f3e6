package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peterh/liner"
	"golang.org/x/sys/unix"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/shell"
)

// terminal reports whether lines from r are typed by a person.
func terminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), ioctlReadTermios)
	return err == nil && f.Fd() == os.Stdin.Fd()
}

// interact runs a shell with a person, and keeps what was typed.
func interact(ctx context.Context, cfg shell.Config, p place, out io.Writer) error {
	edit := liner.NewLiner()
	defer edit.Close()
	edit.SetCtrlCAborts(true)
	edit.SetMultiLineMode(true)
	words := shell.Commands()
	if r, err := cfg.DB.Query(ctx, shell.TablesSQL); err == nil {
		for _, row := range r.Rows {
			words = append(words, row[0].Data)
		}
	}
	slices.Sort(words)
	edit.SetWordCompleter(func(line string, pos int) (string, []string, string) { return complete(words, line, pos) })
	path := historyPath()
	if f, err := os.Open(path); err == nil {
		_, _ = edit.ReadHistory(f) // without it the shell starts with none
		f.Close()
	}
	fmt.Fprintf(out, "%v: statements end with a semicolon; .help lists the commands\n", p)
	cfg.Script, cfg.Lines = false, &typed{edit}
	err := shell.Run(ctx, cfg)
	keepHistory(edit, path)
	return ended(err)
}

// typed gives the lines of a person.
type typed struct{ edit *liner.State }

// Line implements [shell.Lines].
func (t *typed) Line(more bool) (string, error) {
	prompt := "sql> "
	if more {
		prompt = " ..> "
	}
	line, err := t.edit.Prompt(prompt)
	if errors.Is(err, liner.ErrPromptAborted) {
		return "", shell.ErrDropped
	}
	return line, err
}

// Remember implements [shell.Lines]. The history has lines, as the editor does.
func (t *typed) Remember(text string) {
	for line := range strings.Lines(text) {
		t.edit.AppendHistory(strings.TrimRight(line, "\r\n"))
	}
}

// complete offers the words that begin like the one before the cursor.
func complete(words []string, line string, pos int) (head string, offers []string, tail string) {
	runes := []rune(line)
	pos = min(pos, len(runes))
	before := string(runes[:pos])
	from := strings.LastIndexAny(before, " \t(,=") + 1
	for _, w := range words {
		if part := before[from:]; part != "" && len(w) >= len(part) && strings.EqualFold(w[:len(part)], part) {
			offers = append(offers, w)
		}
	}
	return before[:from], offers, string(runes[pos:])
}

// historyPath is where statements are kept; empty if there is no such place.
func historyPath() string {
	dir := os.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "firebreak", "sql_history")
}

// keepHistory writes what was typed for the next shell. Nothing depends on it.
func keepHistory(edit *liner.State, path string) {
	if path == "" || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	_, _ = edit.WriteHistory(f)
	_ = f.Close()
}
