package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/schema"
)

// SchemaFile is a schema file and what it is called.
type SchemaFile struct {
	Name, SQL string
}

// ReadSchemaDir reads the files of a directory whose names end in .sql, by
// name. One that is missing is an error: it is not an empty schema.
func ReadSchemaDir(dir string) ([]SchemaFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("schema directory: %w", err)
	}
	var out []SchemaFile
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ".sql" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("schema file: %w", err)
		}
		out = append(out, SchemaFile{e.Name(), string(b)})
	}
	return out, nil
}

// maxSchemaFiles bounds the files of one load.
const maxSchemaFiles = 1000

// ParseFiles is ParseSQL for files, each of which stands for itself: an index is
// in the file of its table. An error names the file.
func ParseFiles(files []SchemaFile) ([]schema.Table, error) {
	if len(files) > maxSchemaFiles {
		return nil, fmt.Errorf("%d schema files are over the limit of %d", len(files), maxSchemaFiles)
	}
	var out []schema.Table
	var errs []error
	made := map[string]string{}
	for _, f := range files {
		tables, err := ParseSQL(f.SQL)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Name, err))
			continue
		}
		for _, t := range tables {
			if other, twice := made[t.Name]; twice {
				errs = append(errs, fmt.Errorf("%s: %w", f.Name, &schema.Refusal{
					Rule: schema.RuleName, Table: t.Name, Why: "it is in " + other + " too", Do: "keep one",
				}))
				continue
			}
			made[t.Name] = f.Name
			out = append(out, t)
		}
	}
	return slices.Clip(out), errors.Join(errs...)
}

// LintFiles says everything that is wrong with files, as far as can be told
// without a node: what a load into an empty region would be refused for.
func LintFiles(files []SchemaFile) error {
	tables, err := ParseFiles(files)
	if err != nil {
		return err
	}
	return lint(tables)
}
