package trace_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
)

const header = "id,app,create,delete\n"

func read(t *testing.T, content string) ([]trace.Machine, error) {
	t.Helper()
	return trace.Read(strings.NewReader(content), "t.csv", trace.DefaultColumns())
}

func TestReadTakesWhatSpreadsheetsAndToolsWrite(t *testing.T) {
	want := []trace.Machine{
		{ID: "a", App: "web", Create: trace.Before, Delete: trace.Never},
		{ID: "b,1", App: "app_0", Create: 1500e6, Delete: 20e9},
	}
	for name, content := range map[string]string{
		"plain":                    header + "a,web,,\n\"b,1\",app_0,1.5,20\n",
		"CRLF":                     strings.ReplaceAll(header+"a,web,,\n\"b,1\",app_0,1.5,20\n", "\n", "\r\n"),
		"BOM":                      "\ufeff" + header + "a,web,,\n\"b,1\",app_0,1.5,20\n",
		"quoted header":            "\"id\",\"app\",\"create\",\"delete\"\na,web,,\n\"b,1\",app_0,1.5,20\n",
		"no newline at the end":    header + "a,web,,\n\"b,1\",app_0,1.5,20",
		"other columns and order":  "x,delete,create,app,id\n\"1,2\",,,web,a\n3,20,1.5,app_0,\"b,1\"\n",
		"exponents and more zeros": header + "a,web,,\n\"b,1\",app_0,15e-1,20.000\n",
		"empty lines":              header + "\na,web,,\n\n\"b,1\",app_0,1.5,20\n\n",
	} {
		got, err := read(t, content)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestReadNamesTheLineAndTheReason(t *testing.T) {
	for _, c := range []struct {
		name, content string
		line          int
		reason        string
	}{
		{"empty file", "", 1, "empty"},
		{"zero rows", header, 2, "no rows"},
		{"missing columns", "id,app,start\na,b,1\n", 1, `no column "create"; no column "delete"; the columns are id, app, start`},
		{"column named twice", "id,id,app,create,delete\n", 1, `two columns are named "id"`},
		{"duplicate id", header + "a,web,,\nb,web,,\na,web,,\n", 4, "stands in line 2 too"},
		{"duplicate id after CRLF", "id,app,create,delete\r\na,web,,\r\na,web,,\r\n", 3, "line 2 too"},
		{"deletion before creation", header + "a,web,5,4\n", 2, "deletion at 4 is before creation at 5"},
		{"NaN", header + "a,web,NaN,\n", 2, "creation: time \"NaN\" is not finite"},
		{"infinite", header + "a,web,,+Inf\n", 2, "not finite"},
		{"1e308", header + "a,web,1e308,\n", 2, "over the limit of 9e+09 seconds"},
		{"1e309", header + "a,web,1e309,\n", 2, "over the limit"},
		{"negative", header + "a,web,1,2\nb,web,-0.5,2\n", 3, "negative"},
		{"words", header + "a,web,soon,\n", 2, "no number"},
		{"hexadecimal", header + "a,web,0x10p0,\n", 2, "no number"},
		{"empty app", header + "a,,1,2\n", 2, "app name is empty"},
		{"bad app", header + "a,Web.1,1,2\n", 2, "app name \"Web.1\""},
		{"empty id", header + ",web,1,2\n", 2, "machine id is empty"},
		{"long id", header + strings.Repeat("x", 129) + ",web,1,2\n", 2, "over the limit of 128"},
		{"id not UTF-8", header + "a\xff,web,1,2\n", 2, "not valid UTF-8"},
		{"short row", header + "a,web,1,2\nb,web\n", 3, "the row has 2 fields, the header has 4"},
		{"stray quote", header + "a,we\"b,1,2\n", 2, "bare \""},
		{"open quote", header + "a,\"web,1,2\n", 2, "\""},
		{"a row without end", header + "a,\"" + strings.Repeat("x", trace.MaxLine+8192), 2, "over the limit of 1048576 bytes"},
		{"line after a quoted line break", "id,app,create,delete,note\na,web,,,\"x\ny\"\nb,,,,\n", 4, "app name is empty"},
	} {
		_, err := read(t, c.content)
		var bad *trace.Error
		if !errors.As(err, &bad) {
			t.Errorf("%s: got %v, want a trace.Error", c.name, err)
			continue
		}
		if bad.Line != c.line || !strings.Contains(bad.Reason, c.reason) {
			t.Errorf("%s: got line %d, %q; want line %d, %q", c.name, bad.Line, bad.Reason, c.line, c.reason)
		}
	}
}

func TestGzipIsReadByItsContentAndTruncationIsNamed(t *testing.T) {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	if _, err := zip.Write([]byte(header + "a,web,1,2\nb,web,1,2\n")); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plain-name.csv")
	for _, c := range []struct {
		name   string
		data   []byte
		reason string // empty means that it is read
	}{
		{"whole", buf.Bytes(), ""},
		{"truncated in the data", buf.Bytes()[:buf.Len()-12], "truncated"},
		{"truncated in the checksum", buf.Bytes()[:buf.Len()-3], "truncated"},
		{"truncated in the header", buf.Bytes()[:5], "truncated"},
		{"checksum flipped", flip(buf.Bytes(), buf.Len()-6), "damaged"},
		{"garbage after the end", append(bytes.Clone(buf.Bytes()), "garbage and more"...), "damaged"},
	} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := trace.Open(path, trace.DefaultColumns())
		if c.reason == "" {
			if err != nil || len(got) != 2 {
				t.Errorf("%s: got %d machines, %v", c.name, len(got), err)
			}
			continue
		}
		var bad *trace.Error
		if !errors.As(err, &bad) || !strings.Contains(bad.Reason, c.reason) || bad.File != path || bad.Line < 1 {
			t.Errorf("%s: got %v, want a reason with %q", c.name, err, c.reason)
		}
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 0xff
	return b
}

func TestOpenNamesAMissingFile(t *testing.T) {
	_, err := trace.Open(filepath.Join(t.TempDir(), "none.csv"), trace.DefaultColumns())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func FuzzReadNeverPanicsAndKeepsItsWord(f *testing.F) {
	f.Add([]byte(header + "a,web,1,2\n"))
	f.Add([]byte("\ufeffid,app,create,delete\r\n\"a,\n\",web,,1e3\r\n"))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := trace.Read(bytes.NewReader(data), "f", trace.DefaultColumns())
		if err != nil {
			var bad *trace.Error
			if !errors.As(err, &bad) || bad.Line < 1 || bad.Reason == "" {
				t.Fatalf("error %v names no line or reason", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, m := range got {
			if m.ID.Check() != nil || m.App.Check() != nil || m.Delete < m.Create || seen[string(m.ID)] {
				t.Fatalf("bad machine taken: %+v", m)
			}
			seen[string(m.ID)] = true
		}
	})
}
