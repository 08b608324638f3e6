package live

import (
	"context"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

var changing = []string{
	"random", "randomblob", "changes", "total_changes", "last_insert_rowid", "current_timestamp", "current_date", "current_time",
}

// dateFunctions have the place of their first argument that is a time. Without
// one they tell the present.
var dateFunctions = map[string]int{"date": 0, "time": 0, "datetime": 0, "julianday": 0, "unixepoch": 0, "strftime": 1, "timediff": 0}

// checkConstant refuses a query whose result changes while no table does.
// Functions may stand in a view as well as in the query.
func checkConstant(ctx context.Context, db *sqlite.DB, sql string, args []record.Value, functions []string) error {
	for _, f := range functions {
		if slices.Contains(changing, f) {
			return refused("the result of %s() changes without any write, so it cannot be watched; pass the value as a parameter", f)
		}
	}
	if !slices.ContainsFunc(functions, func(f string) bool { _, dated := dateFunctions[f]; return dated }) {
		return nil
	}
	texts, err := withViews(ctx, db, sql)
	if err != nil {
		return err
	}
	now := slices.ContainsFunc(args, func(v record.Value) bool { return meansNow(v.Data) })
	for _, text := range texts {
		now = now || tellsNow(text)
	}
	if now {
		return refused("the time of day changes without any write, so a query with 'now' cannot be watched; pass the time as a parameter")
	}
	return nil
}

// withViews returns a query's text, and that of every view that it may read.
func withViews(ctx context.Context, db *sqlite.DB, sql string) ([]string, error) {
	views := map[string]string{}
	_, err := db.Query(ctx, query("SELECT name, sql FROM sqlite_schema WHERE type = 'view'", nil), func(_ []string, r store.Row) error {
		if r != nil {
			views[r[0].Data] = r[1].Data
		}
		return nil
	})
	texts := []string{sql}
	for i := 0; i < len(texts); i++ { // it grows
		for name, text := range views {
			if sqltext.Mentions(texts[i], name) {
				texts = append(texts, text)
				delete(views, name)
			}
		}
	}
	return texts, err
}

// meansNow reports whether a time of this text is the present, or whether it
// could be a piece of such a text.
func meansNow(text string) bool {
	text = strings.ToLower(text)
	return text == "now" || text == "subsec" || text == "subsecond" || text != "" && (strings.Contains("now", text) || len(text) > 2 && strings.Contains("subsecond", text))
}

// tellsNow reports whether some date function of a text tells the present.
func tellsNow(sql string) bool {
	tokens := slices.DeleteFunc(sqltext.Lex(sql), func(t sqltext.Token) bool { return t.Kind == sqltext.Comment })
	for i, t := range tokens {
		if t.Kind == sqltext.String && strings.EqualFold(t.Ident(), "now") {
			return true
		}
		at, dated := dateFunctions[strings.ToLower(t.Ident())]
		if !dated || t.Kind != sqltext.Word && t.Kind != sqltext.Name || i+1 == len(tokens) || !tokens[i+1].Is("(") {
			continue
		}
		inside := tokens[i+2 : closing(tokens, i+1)]
		given := split(inside, ",")
		if len(inside) == 0 || len(given) <= at {
			return true
		}
		times := given[at : at+1]
		if strings.EqualFold(t.Ident(), "timediff") {
			times = given
		}
		for _, term := range times {
			if slices.ContainsFunc(term, func(t sqltext.Token) bool {
				return t.Kind == sqltext.String && (t.Text[0] != '\'' || meansNow(t.Ident()))
			}) {
				return true
			}
		}
	}
	return false
}
