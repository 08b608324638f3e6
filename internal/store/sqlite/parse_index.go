package sqlite

import (
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// index reads one CREATE INDEX.
func (f *fileParser) index(s source) {
	of := ""
	if on := slices.IndexFunc(s.tokens, func(t sqltext.Token) bool { return t.Is("ON") }); on >= 0 {
		of = nameAt(s.tokens[on+1:])
	}
	name, err := f.make(s.sql, "index")
	if err != nil {
		_, refused := f.tablesOf[of]
		switch missing := strings.Contains(err.Error(), "no such table"); {
		case missing && refused:
		case missing:
			f.refuse(s.pos, "", schema.RuleSyntax, "put its CREATE TABLE into one of them", "an index is on table %s, which the schema files do not make", of)
		default:
			f.refuse(s.pos, "", schema.RuleSyntax, "", "%v", err)
		}
		return
	}
	if name == "" {
		f.refuse(s.pos, "", schema.RuleName, "keep one", "%s is there twice", text(s.tokens[:min(len(s.tokens), 6)]))
		return
	}
	on, err := f.c.row(`SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name = ?`, name)
	if err != nil {
		f.refuse(s.pos, "", schema.RuleSyntax, "", "%v", err)
		return
	}
	at := slices.IndexFunc(f.tables, func(t schema.Table) bool { return t.Name == schema.Lower(on[0].Data) })
	if at < 0 {
		return // of a table that was refused
	}
	t := &f.tables[at]
	x := schema.Index{Name: schema.Lower(name), Spelled: name}
	if x.Spelled == x.Name {
		x.Spelled = ""
	}
	f.made[x.Name] = true
	switch {
	case f.dropped[x.Name]:
		f.refuse(s.pos, t.Name, schema.RuleDropIndex, "leave the DROP INDEX out: an index whose statement changes is made anew", "index %s is dropped and made by the schema files", x.Name)
	case reservedName(x.Name):
		f.refuse(s.pos, t.Name, schema.RuleName, nameAdvice, "index name %q is reserved", x.Name)
	case t.Kind == 0:
		t.Local = append(t.Local, s.sql)
	case s.is("CREATE", "UNIQUE"):
		f.refuse(s.pos, t.Name, schema.RuleUnique, "two nodes could each take the value; leave UNIQUE out, or make it the key", "UNIQUE INDEX %s is not supported", x.Name)
	default:
		open := slices.IndexFunc(s.tokens, func(t sqltext.Token) bool { return t.Is("(") })
		end := closingParen(s.tokens, open)
		x.Terms = text(s.tokens[open+1 : end])
		if rest := s.tokens[min(end+1, len(s.tokens)):]; len(rest) > 1 {
			x.Where = text(rest[1:])
		}
		t.Indexes = append(t.Indexes, x)
	}
}

// dropIndex takes a DROP INDEX IF EXISTS for what the file says without it: it
// does not make that index.
func (f *fileParser) dropIndex(s source) {
	if !s.is("DROP", "INDEX", "IF", "EXISTS") {
		f.refuse(s.pos, "", schema.RuleDropIndex, "write DROP INDEX IF EXISTS, or leave it out: an index that no file makes is dropped", "DROP INDEX needs IF EXISTS")
		return
	}
	name := ""
	if len(s.tokens) > 4 {
		name = schema.Lower(s.tokens[len(s.tokens)-1].Ident())
	}
	if f.dropped[name] = true; f.made[name] {
		f.refuse(s.pos, "", schema.RuleDropIndex, "leave the DROP INDEX out: an index whose statement changes is made anew", "index %s is made and dropped by the schema files", name)
		return
	}
	if err := f.c.script(s.sql); err != nil {
		f.refuse(s.pos, "", schema.RuleSyntax, "", "%v", err)
	}
}
