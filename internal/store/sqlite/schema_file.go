package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/schema"
)

// SchemaFile is a schema file and what it is called.
type SchemaFile struct {
	Name, SQL string
}

// ReadSchemaDir reads the files of a directory whose names end in .sql, by
// name, but for hidden ones: editors leave theirs there. It may be a file, too.
// One that is missing is an error: it is not an empty schema.
func ReadSchemaDir(dir string) ([]SchemaFile, error) {
	if at, err := os.Stat(dir); err == nil && at.Mode().IsRegular() {
		b, err := os.ReadFile(dir)
		if err != nil {
			return nil, fmt.Errorf("schema file: %w", err)
		}
		return []SchemaFile{{filepath.Base(dir), string(b)}}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("schema directory: %w", err)
	}
	var out []SchemaFile
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || filepath.Ext(e.Name()) != ".sql" {
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

// ParseFiles is ParseSQL for files, which are one schema: an index may be in
// another file than its table. An error names the file.
func ParseFiles(files []SchemaFile) ([]schema.Table, error) {
	if len(files) > maxSchemaFiles {
		return nil, fmt.Errorf("%d schema files are over the limit of %d", len(files), maxSchemaFiles)
	}
	tables, errs, err := parseFiles(files)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("%s: schema: %w", files[i].Name, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return slices.Clip(tables), nil
}

// LintFiles says everything that is wrong with files, as far as can be told
// without a node: what a load into an empty region would be refused for. What
// it would take and people are surprised by is in the warnings.
func LintFiles(files []SchemaFile) (warnings []string, err error) {
	tables, err := ParseFiles(files)
	if err == nil {
		err = lint(tables)
	}
	if err != nil {
		return nil, err
	}
	return Warnings(tables), nil
}
