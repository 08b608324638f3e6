package sqlite

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/plan"
)

// affinity is how SQLite may change a value that is stored in a column.
type affinity int

const (
	affinityBlob affinity = iota // as it is
	affinityText
	affinityNumeric // INTEGER and NUMERIC
	affinityReal
)

// affinityOf follows section 3.1 of https://www.sqlite.org/datatype3.html.
func affinityOf(declared string) affinity {
	u := strings.ToUpper(declared)
	has := func(s string) bool { return strings.Contains(u, s) }
	switch {
	case has("INT"):
		return affinityNumeric
	case has("CHAR"), has("CLOB"), has("TEXT"):
		return affinityText
	case has("BLOB"), u == "":
		return affinityBlob
	case has("REAL"), has("FLOA"), has("DOUB"):
		return affinityReal
	}
	return affinityNumeric
}

// affinityIn is affinityOf in a table: in a STRICT one, ANY takes all as it is.
func affinityIn(t schema.Table, declared string) affinity {
	if t.Strict && declared == "ANY" {
		return affinityBlob
	}
	return affinityOf(declared)
}

// Warnings tells of columns of files whose declared type lets SQLite change
// what is written, and does not look so.
func Warnings(files []schema.Table) []string {
	var out []string
	for _, t := range files {
		out = append(out, warnings(t, "")...)
	}
	return out
}

// stepWarnings are the warnings of what a plan makes.
func stepWarnings(p plan.Plan, files []schema.Table) []string {
	var out []string
	for _, s := range p.Steps {
		if s.Act != plan.CreateTable && s.Act != plan.AddColumn {
			continue
		}
		for _, t := range files {
			if t.Name == s.Table {
				out = append(out, warnings(t, s.Name)...)
			}
		}
	}
	return out
}

// warnings are those of one column, or of all if it is empty.
func warnings(t schema.Table, column string) []string {
	var out []string
	for _, c := range slices.Concat(t.Key, t.Columns) {
		if column != "" && column != c.Name {
			continue
		}
		plain := strings.Contains(c.Type, "INT") || strings.HasPrefix(c.Type, "NUMERIC") || strings.HasPrefix(c.Type, "DECIMAL")
		if t.Strict || plain || affinityIn(t, c.Type) != affinityNumeric {
			continue
		}
		out = append(out, fmt.Sprintf("table %s: column %s: %s is no type of SQLite, which makes numbers of texts that look like one, as 7 of '007'; declare it TEXT to keep them",
			t.Name, c.Name, c.Type))
	}
	return out
}

// surelyKept reports whether SQLite stores v in a column of affinity a as it
// is. False means that only a look at the stored value can tell. Records come
// as another node read them back, so this holds for nearly all; one that would
// be changed is not what its hash says, and is withheld.
func surelyKept(a affinity, v record.Value) bool {
	switch v.Type {
	case record.Null, record.Blob:
		return true
	case record.Integer:
		return a == affinityBlob || a == affinityNumeric
	case record.Real:
		// -0.0 and whole numbers may be stored as integers.
		return !math.IsNaN(v.Real) && (a == affinityBlob || a == affinityReal && (v.Real != 0 || !math.Signbit(v.Real)))
	case record.Text:
		return a == affinityBlob || a == affinityText || !strings.ContainsAny(v.Data, "0123456789")
	}
	return false
}
