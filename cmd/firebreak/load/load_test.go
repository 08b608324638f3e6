package load_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/load"
	"github.com/firebreak-dev/firebreak/internal/record"
)

var table = load.Table{Name: "t", Columns: []string{"id", "v"}, Key: []string{"id"}, Computed: []string{"c"}}

// node takes batches, and refuses those with a row whose value it is told.
type node struct {
	bad   string
	wrote map[string]string
	sizes []int
	bytes []int
	fail  error
}

func (n *node) write(_ context.Context, stmts []load.Statement) (int64, error) {
	size := 0
	for _, s := range stmts {
		for _, v := range s.Args {
			size += len(v.Data)
		}
	}
	n.sizes, n.bytes = append(n.sizes, len(stmts)), append(n.bytes, size)
	if n.fail != nil {
		return 0, n.fail
	}
	for _, s := range stmts {
		if n.bad != "" && strings.Contains(s.Args[1].Data, n.bad) {
			return 0, &load.RefusedError{Err: errors.New("no")}
		}
	}
	changed := int64(0)
	for _, s := range stmts {
		if old, ok := n.wrote[s.Args[0].Data]; !ok || old != s.Args[1].Data {
			changed++
		}
		n.wrote[s.Args[0].Data] = s.Args[1].Data
	}
	return changed, nil
}

// run loads and returns the places that were refused.
func (n *node) run(t *testing.T, src load.Source, most int64) (load.Counts, []string, error) {
	t.Helper()
	n.wrote = map[string]string{}
	var refused []string
	c, err := load.Load(t.Context(), load.Config{Table: table, Write: n.write, MaxRefused: most,
		Refused: func(place string, _ error) { refused = append(refused, place) }}, src)
	if c.Rows != c.Written+c.Refused && err == nil {
		t.Errorf("%+v: rows are lost", c)
	}
	return c, refused, err
}

func csv(t *testing.T, text string) load.Source {
	t.Helper()
	src, err := load.NewCSV(strings.NewReader(text), int64(len(text)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func lines(n int, value func(i int) string) string {
	var b strings.Builder
	b.WriteString("id,V\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,%s\n", i, value(i))
	}
	return b.String()
}

func TestBatchesHoldWhatAChangesetDoes(t *testing.T) {
	var n node
	c, _, err := n.run(t, csv(t, lines(2500, func(i int) string { return "x" })), 0)
	if err != nil || c.Written != 2500 || fmt.Sprint(n.sizes) != "[1000 1000 500]" {
		t.Errorf("%+v %v, batches of %v", c, err, n.sizes)
	}
	n = node{}
	c, _, err = n.run(t, csv(t, lines(50, func(i int) string { return strings.Repeat("x", 60<<10) })), 0)
	if err != nil || c.Written != 50 {
		t.Errorf("%+v %v", c, err)
	}
	for _, size := range n.bytes {
		if size > 1<<20 {
			t.Errorf("a batch of %d bytes", size)
		}
	}
}

func TestRefusedRowsStandAlone(t *testing.T) {
	n := node{bad: "bad"}
	c, refused, err := n.run(t, csv(t, lines(2000, func(i int) string {
		if i == 0 || i == 777 || i == 1999 {
			return "bad"
		}
		return "good"
	})), 10)
	if err != nil || c.Written != 1997 || fmt.Sprint(refused) != "[line 2 line 779 line 2001]" {
		t.Errorf("%+v %v %v", c, err, refused)
	}
	n = node{bad: "bad"}
	c, _, err = n.run(t, csv(t, lines(2000, func(int) string { return "bad" })), 10)
	if !errors.Is(err, load.ErrTooManyRefused) || c.Refused != 11 || len(n.sizes) > 50 {
		t.Errorf("%+v %v after %d batches", c, err, len(n.sizes))
	}
}

func TestFailureOfTheNodeIsNoFaultOfARow(t *testing.T) {
	n := node{fail: errors.New("away")}
	c, refused, err := n.run(t, csv(t, lines(10, func(int) string { return "x" })), 10)
	if err == nil || !errors.Is(err, n.fail) || c.Refused != 0 || refused != nil || len(n.sizes) != 1 {
		t.Errorf("%+v %v %v", c, err, refused)
	}
}

func TestRowsThatCannotBeWritten(t *testing.T) {
	var n node
	text := "id,v\n1,a\n2\n3,\"b\n"
	c, refused, err := n.run(t, csv(t, text), 10)
	if err != nil || c.Written != 1 || fmt.Sprint(refused) != "[line 3 line 4]" {
		t.Errorf("%+v %v %v", c, err, refused)
	}
	text = `{"id":"1","c":1}` + "\n" + `{"id":"1","ID":"2"}` + "\n{}\n" + `{"id":"` + strings.Repeat("x", 2<<20) + `"}` + "\n" + strings.Repeat("y", 5<<20) + "\n" + `{"v":"v","id":"z"}`
	src := load.NewNDJSON(strings.NewReader(text), int64(len(text)))
	c, refused, err = n.run(t, src, 10)
	if err != nil || c.Written != 1 || fmt.Sprint(refused) != "[line 1 line 2 line 3 line 4 line 5]" || src.Part() != 1 {
		t.Errorf("%+v %v %v", c, err, refused)
	}
}

func TestStatementIsAnUpsert(t *testing.T) {
	var got []load.Statement
	src := load.NewNDJSON(strings.NewReader(`{"ID":"1","v":null}`+"\n"+`{"id":"2"}`), 0)
	_, err := load.Load(t.Context(), load.Config{Table: table, Write: func(_ context.Context, s []load.Statement) (int64, error) { got = s; return 0, nil }}, src)
	want := []string{
		`INSERT INTO "t" ("id", "v") VALUES (?, ?) ON CONFLICT ("id") DO UPDATE SET "v" = excluded."v"`,
		`INSERT INTO "t" ("id") VALUES (?) ON CONFLICT ("id") DO NOTHING`,
	}
	if err != nil || len(got) != 2 || got[0].SQL != want[0] || got[1].SQL != want[1] || got[0].Args[1] != (cell.Value{}) || got[0].Args[0] != (cell.Value{Type: record.Text, Data: "1"}) {
		t.Errorf("%+v %v", got, err)
	}
}

// Whatever a file holds, each of its rows is written or refused.
func FuzzFiles(f *testing.F) {
	for _, s := range []string{"id,v\n1,2\n", `{"id":"1","v":{"blob":"00"}}`, "id,v\n\"", "{\"id\":1e999}\n[]\n", "\xef\xbb\xbfid\n\x00", `{"id":{"blob":"x"},"v":"\ud800"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []string{"csv", "ndjson"} {
			var src load.Source = load.NewNDJSON(strings.NewReader(text), 0)
			if kind == "csv" {
				c, err := load.NewCSV(strings.NewReader(text), 0, nil)
				if err != nil {
					continue
				}
				src = c
			}
			refused := int64(0)
			c, err := load.Load(t.Context(), load.Config{Table: table, MaxRefused: 1 << 30, Refused: func(string, error) { refused++ },
				Write: func(_ context.Context, s []load.Statement) (int64, error) { return int64(len(s)), nil }}, src)
			if err != nil || c.Rows != c.Written+c.Refused || c.Refused != refused {
				t.Errorf("%s %q: %+v, %d told, %v", kind, text, c, refused, err)
			}
		}
	})
}
