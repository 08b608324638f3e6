package live

import (
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// tableOf is the shape of a table of the tests.
func tableOf(string) schema.Table {
	text := schema.Column{Type: "TEXT"}
	named := func(n string) schema.Column { c := text; c.Name = n; return c }
	return schema.Table{
		Name: "m", Kind: record.Shared,
		Key:     []schema.Column{named("id")},
		Columns: []schema.Column{named("app"), {Name: "port", Type: "INTEGER"}, {Name: "note", Type: "BLOB"}},
	}
}
