package schema

import (
	"math"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/record"
)

func TestLiteralsKeepTheirType(t *testing.T) {
	for want, v := range map[string]record.Value{
		"NULL": {}, "7": record.Of(7), "-9223372036854775808": record.Of(int64(math.MinInt64)), "2.0": record.Of(2.0), "1e+300": record.Of(1e300),
		"9e999": record.Of(math.Inf(1)), "-9e999": record.Of(math.Inf(-1)), "0.1": record.Of(0.1), "'it''s'": record.Of("it's"), "x'00ff'": record.Of([]byte{0, 255}), "x''": record.Of([]byte{}),
	} {
		if got := Literal(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

func TestNamesFoldAsSQLiteFoldsThem(t *testing.T) {
	if got := Lower("AzÉ_9"); got != "azÉ_9" {
		t.Errorf("lower case: %s", got)
	}
	if got := Upper("aZé_9"); got != "AZé_9" {
		t.Errorf("upper case: %s", got)
	}
}

func TestColumnsComeInDeclaredOrder(t *testing.T) {
	table := Table{Name: "t", Key: []Column{{Name: "k"}}, Columns: []Column{{Name: "a", Spelled: "A"}}, Generated: []Generated{{Name: "g", Expr: "a"}}}
	if got, want := table.SQL(), `CREATE TABLE "t" ("k" NOT NULL, "A", "g" AS (a), PRIMARY KEY ("k")) WITHOUT ROWID`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	table.Order = []string{"g", "a", "k"}
	if got, want := table.SQL(), `CREATE TABLE "t" ("g" AS (a), "A", "k" NOT NULL, PRIMARY KEY ("k")) WITHOUT ROWID`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
