// Package plan says what a load of schema files changes: the difference
// between the files and what this node last loaded, as definitions to write.
// What other nodes have loaded is not in the difference, so an old file at one
// node brings nothing back and drops nothing of the others.
//
// A change that would need every row, or that nodes could take differently, is
// refused by rule, whatever the tables hold now.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/schema/definition"
)

// Act is what a step does.
type Act string

// What steps do. All but those of local tables are definitions.
const (
	CreateTable  Act = "create table"
	DropTable    Act = "drop table"
	AddColumn    Act = "add column"
	DropColumn   Act = "drop column"
	AddComputed  Act = "add generated column"
	DropComputed Act = "drop generated column"
	CreateIndex  Act = "create index"
	DropIndex    Act = "drop index"
	CreateLocal  Act = "create local table"
	DropLocal    Act = "drop local table"
)

// Step is one thing that changes.
type Step struct {
	Act         Act
	Table, Name string                  // Name is empty for a table
	SQL         string                  // what it comes to, to be read
	Define      []definition.Definition // to be written; of a new table: its columns and indexes too
	Local       schema.Table            // of a local table
}

// Plan is what a load changes.
type Plan struct {
	Steps []Step
	Notes []string // what the files say and this load does not do, or not as it looks
	Hash  string   // of the schema that it starts from, and of the files
}

// Definitions returns what the plan writes.
func (p Plan) Definitions() []definition.Definition {
	var out []definition.Definition
	for _, s := range p.Steps {
		out = append(out, s.Define...)
	}
	return out
}

// Make plans the load of files at a node that last loaded something, and now
// has a set of definitions. An error joins a [schema.Refusal] for each thing
// that cannot be; nothing of such files is loaded.
func Make(files, loaded []schema.Table, now *definition.Set) (Plan, error) {
	d := &differ{now: now, next: now.With(), schema: now.Assemble()}
	names := map[string]bool{}
	for _, list := range [][]schema.Table{loaded, files} {
		for _, t := range list {
			if names[t.Name] {
				continue
			}
			names[t.Name] = true
			d.table(find(loaded, t.Name), find(files, t.Name))
		}
	}
	d.settle()
	if len(d.errs) > 0 {
		return Plan{}, errors.Join(d.errs...)
	}
	d.plan.Hash = Hash(files, loaded, now)
	return d.plan, nil
}

// Hash names what a plan was made of.
func Hash(files, loaded []schema.Table, now *definition.Set) string {
	at := now.Hash()
	h := sha256.New()
	h.Write(at[:])
	for _, list := range [][]schema.Table{loaded, files} {
		sum := sha256.Sum256(definition.Append(nil, list))
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func find(tables []schema.Table, name string) *schema.Table {
	for i := range tables {
		if tables[i].Name == name {
			return &tables[i]
		}
	}
	return nil
}
