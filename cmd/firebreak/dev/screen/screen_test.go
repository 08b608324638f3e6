package screen_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/screen"
)

var sequence = regexp.MustCompile(`^\x1b\[(\d*)([AJm])`)

// terminal returns what a terminal shows after it was sent text.
func terminal(t *testing.T, text string) []string {
	t.Helper()
	lines, at := []string{""}, 0
	for len(text) > 0 {
		if m := sequence.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			n, _ := strconv.Atoi(m[1])
			switch m[2] {
			case "A":
				at -= n
			case "J":
				lines = append(lines[:at:at], "")
			}
			if at < 0 {
				t.Fatal("the cursor left the screen")
			}
			continue
		}
		switch text[0] {
		case '\n':
			if at++; at == len(lines) {
				lines = append(lines, "")
			}
		case '\r':
			lines[at] = ""
		default:
			lines[at] += text[:1]
		}
		text = text[1:]
	}
	return lines[:len(lines)-1]
}

func width(n int) func() int { return func() int { return n } }

func TestLinesScrollAboveTheBlock(t *testing.T) {
	var out bytes.Buffer
	s := screen.New(&out, width(12), false)
	s.Line(&out, "one")
	s.Show([]string{"block 1", "a line that is longer than the terminal"})
	s.Line(&out, "two")
	s.Show([]string{"block 2"})
	s.Line(&out, "three")
	if diff := cmp.Diff([]string{"one", "two", "three", "block 2"}, terminal(t, out.String())); diff != "" {
		t.Errorf("(-want +shown):\n%s", diff)
	}
	if !strings.Contains(out.String(), "a line that\n") {
		t.Errorf("a long line was not cut: %q", out.String())
	}
	s.End()
	s.Show([]string{"late"})
	s.Line(&out, "four")
	if diff := cmp.Diff([]string{"one", "two", "three", "four"}, terminal(t, out.String())); diff != "" {
		t.Errorf("after the end (-want +shown):\n%s", diff)
	}
}

func TestLinesForAnotherFileDoNotMoveTheBlock(t *testing.T) {
	var out, other bytes.Buffer
	s := screen.New(&out, width(80), false)
	s.Show([]string{"block"})
	s.Line(&other, "elsewhere")
	s.Show([]string{"again"})
	if diff := cmp.Diff([]string{"again"}, terminal(t, out.String())); diff != "" || other.String() != "elsewhere\n" {
		t.Errorf("elsewhere %q; (-want +shown):\n%s", other.String(), diff)
	}
}

func TestOnlyAlertsHaveAColorAndNoneIfNoneIsAllowed(t *testing.T) {
	for _, color := range []bool{false, true} {
		var out bytes.Buffer
		screen.New(&out, width(80), color).Show([]string{"fine", screen.Alert + "broken"})
		want := "fine\n! broken\n"
		if color {
			want = "fine\n\x1b[31m! broken\x1b[0m\n"
		}
		if out.String() != want {
			t.Errorf("color %v: %q", color, out.String())
		}
	}
}

func TestABufferIsNoTerminal(t *testing.T) {
	if _, ok := screen.Terminal(&bytes.Buffer{}); ok {
		t.Error("it is taken for one")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := screen.Terminal(f); ok {
		t.Error("a file is taken for one")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
