package region

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/firebreak-dev/firebreak/internal/backoff"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

// lookSchema is how often the schema directory is looked at.
const lookSchema = time.Second

// schemaFiles are the files of the configured directory, as last looked at.
type schemaFiles struct {
	seen    []sqlite.SchemaFile
	refused string // why seen is not loaded; empty if it is
}

// openSchema loads the configured directory. At the start a node whose files
// are refused does not serve: else each query would say "no such table".
func (n *Node) openSchema(ctx context.Context) error {
	if n.cfg.Schema == "" {
		return nil
	}
	files, err := sqlite.ReadSchemaDir(n.cfg.Schema)
	if err == nil {
		err = n.loadSchema(ctx, files)
	}
	if err != nil {
		return fmt.Errorf("schema %s: %w", n.cfg.Schema, err)
	}
	return nil
}

func (n *Node) loadSchema(ctx context.Context, files []sqlite.SchemaFile) error {
	tables, err := sqlite.ParseFiles(files)
	if err == nil {
		var p sqlite.SchemaPlan
		p, err = n.db.LoadSchema(ctx, sqlite.SchemaLoad{Tables: tables, Who: "files of " + string(n.cfg.Node)})
		for _, note := range p.Notes {
			n.log.Warn("schema files were loaded, and may not do what is meant", "dir", n.cfg.Schema, "note", note)
		}
	}
	f := &schemaFiles{seen: files}
	if err != nil {
		f.refused = err.Error()
	}
	n.files.Store(f)
	return err
}

// followSchema loads the directory again when its files change. Files that are
// refused leave the schema as it is, and the reason in status.
func (n *Node) followSchema(ctx context.Context) error {
	for n.cfg.Schema != "" && backoff.Wait(ctx, lookSchema) == nil {
		files, err := sqlite.ReadSchemaDir(n.cfg.Schema)
		last := n.files.Load()
		switch {
		case err != nil && (last == nil || last.refused != err.Error()):
			n.files.Store(&schemaFiles{refused: err.Error()})
			n.log.Error("schema files cannot be read: the schema stays as it is", "dir", n.cfg.Schema, "err", err)
		case err != nil || last != nil && slices.Equal(last.seen, files):
		default:
			if err := n.loadSchema(ctx, files); err != nil && ctx.Err() == nil {
				n.log.Error("schema files are refused: the schema stays as it is", "dir", n.cfg.Schema, "err", err)
			}
		}
	}
	<-ctx.Done()
	return nil
}

// SchemaRefused says why the files of the configuration are not loaded.
func (n *Node) SchemaRefused() string {
	if f := n.files.Load(); f != nil {
		return f.refused
	}
	return ""
}
