package sqlite_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// A copy is not what it was received as if only its books are: every row is
// hashed anew.
func TestStripReadsEveryRowAnew(t *testing.T) {
	for name, c := range map[string]struct{ sql, what string }{
		"nothing":          {"", ""},
		"a cell":           {"UPDATE machines SET app = 'rot' WHERE id = 'b'", "table machines: row"},
		"a type":           {"UPDATE notes SET n = '7.5' WHERE id = 'n'", "table notes: row"},
		"a row that went":  {"DELETE FROM machines WHERE id = 'b'", "gone"},
		"a row that came":  {"INSERT INTO machines (worker, id, app) VALUES ('w9', 'z', '')", "never received"},
		"what is withheld": {"UPDATE _fb_withheld SET cells = x'00'", "is withheld and hashes to"},
		"a fingerprint":    {"UPDATE _fb_writers SET owned = zeroblob(16) WHERE node = 'w2'", "fingerprint"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := sqlite.Strip(t.Context(), damaged(t, c.sql), "w7", tables(t))
			if c.what != "" {
				if !errors.Is(err, sqlite.ErrDamaged) || !strings.Contains(err.Error(), c.what) {
					t.Errorf("%v, want %q in it", err, c.what)
				}
				return
			}
			if err != nil || out.Withheld != 1 || out.Rows != 3 || len(out.Unread) > 0 || out.Unchecked > 0 {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}

// A program that does not know a table still restores the file, says so, and
// looks at what it can.
func TestStripSumsWhatItCannotRead(t *testing.T) {
	some := tables(t)[1:]
	for name, c := range map[string]struct {
		sql string
		bad bool
	}{
		"nothing":                {"", false},
		"a cell it cannot read":  {"UPDATE machines SET app = 'rot' WHERE id = 'b'", false},
		"a cell it can read":     {"UPDATE notes SET n = '7.5' WHERE id = 'n'", true},
		"books of an unread row": {"DELETE FROM _fb_withheld; DELETE FROM _fb_rows_machines WHERE id = 'b'", true},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := sqlite.Strip(t.Context(), damaged(t, c.sql), "", some)
			if c.bad {
				if !errors.Is(err, sqlite.ErrDamaged) {
					t.Errorf("%+v, %v: want it refused as damaged", out, err)
				}
				return
			}
			if err != nil || !slices.Contains(out.Unread, "machines") || slices.Contains(out.Unread, "notes") || out.Unchecked != 1 {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}
