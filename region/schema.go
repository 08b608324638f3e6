package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/schema"
	"github.com/firebreak-dev/firebreak/internal/store/sqlite"
)

const (
	lookSchema  = time.Second      // between looks at the schema files
	retrySchema = 10 * time.Second // between tries of files that a passing reason kept out
)

// loadFunc loads schema files into the database: all of them, or nothing.
type loadFunc func(ctx context.Context, files []sqlite.SchemaFile) error

// schemaFollower keeps what the files of a directory say in effect.
type schemaFollower struct {
	// Set by newSchemaFollower, then constant.
	dir  string // empty for none
	load loadFunc
	log  *slog.Logger
	asks chan chan<- schemaLook // who asks for a look at once

	last atomic.Pointer[schemaFiles] // nil before they are read; written by open, then by run
}

// schemaFiles are the files of the directory, as last looked at.
type schemaFiles struct {
	seen    []sqlite.SchemaFile
	refused string    // why seen is not loaded; empty if it is
	passing bool      // what refused seen may pass without a change of the files
	tried   time.Time // when seen was last tried
}

// schemaLook is what came of a look at the files.
type schemaLook struct {
	loaded bool
	err    error
}

func newSchemaFollower(dir string, load loadFunc, log *slog.Logger) *schemaFollower {
	return &schemaFollower{dir: dir, load: load, log: log, asks: make(chan chan<- schemaLook)}
}

// open loads the files. At the start a node whose files are refused does not
// serve: else each query would say "no such table".
func (f *schemaFollower) open(ctx context.Context) error {
	if f.dir == "" {
		return nil
	}
	_, err := f.look(ctx, true)
	return err
}

// look reads the files, and loads them if they are others than those in
// effect. Files that were refused are tried again if they have changed, if
// somebody asks, or, if what refused them may pass, after retrySchema.
func (f *schemaFollower) look(ctx context.Context, asked bool) (loaded bool, err error) {
	files, err := sqlite.ReadSchemaDir(f.dir)
	if err != nil {
		f.last.Store(&schemaFiles{refused: err.Error(), passing: true})
		return false, fmt.Errorf("schema %s: %w", f.dir, err)
	}
	now, last := time.Now(), f.last.Load()
	if last != nil && slices.Equal(last.seen, files) {
		again := asked || last.passing && now.Sub(last.tried) >= retrySchema
		if last.refused == "" || !again {
			return false, nil
		}
	}
	next := &schemaFiles{seen: files, tried: now}
	if err = f.load(ctx, files); err != nil {
		next.refused, next.passing = err.Error(), !lasting(err)
		err = fmt.Errorf("schema %s: %w", f.dir, err)
	}
	f.last.Store(next)
	return err == nil, err
}

// lasting reports whether files that were refused for err will be until they
// are changed: then nothing is gained by trying them again.
func lasting(err error) bool {
	var rule *schema.Refusal
	return errors.As(err, &rule) || errors.As(err, new(textError))
}

// textError is of files that cannot be read as a schema.
type textError struct{ error }

func (e textError) Unwrap() error { return e.error }

// run looks at the files now and then, and when asked. Files that are refused
// leave the schema as it is, and the reason in status.
func (f *schemaFollower) run(ctx context.Context) error {
	tick := time.NewTicker(lookSchema)
	defer tick.Stop()
	for {
		var answer chan<- schemaLook
		select {
		case <-ctx.Done():
			return nil
		case answer = <-f.asks:
		case <-tick.C:
		}
		if f.dir == "" {
			if answer != nil {
				answer <- schemaLook{}
			}
			continue
		}
		before := f.refused()
		loaded, err := f.look(ctx, answer != nil)
		switch {
		case answer != nil:
			answer <- schemaLook{loaded, err}
		case loaded:
			f.log.Info("schema files were loaded", "dir", f.dir)
		case err != nil && ctx.Err() == nil && f.refused() != before: // else it was said before
			f.log.Error("schema files are not loaded: the schema stays as it is", "err", err)
		}
	}
}

// ask has the files looked at now, and returns what came of it.
func (f *schemaFollower) ask(ctx context.Context) (loaded bool, err error) {
	answer := make(chan schemaLook, 1) // run waits for nobody
	select {
	case f.asks <- answer:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case l := <-answer:
		return l.loaded, l.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// refused says why the files are not loaded.
func (f *schemaFollower) refused() string {
	if last := f.last.Load(); last != nil {
		return last.refused
	}
	return ""
}

// loadSchema loads files of the configured directory.
func (n *Node) loadSchema(ctx context.Context, files []sqlite.SchemaFile) error {
	tables, err := sqlite.ParseFiles(files)
	if err != nil {
		return textError{err}
	}
	p, err := n.db.LoadSchema(ctx, sqlite.SchemaLoad{Tables: tables, Who: "files of " + string(n.cfg.Node)})
	for _, note := range p.Notes {
		n.log.Warn("schema files were loaded, and may not do what is meant", "dir", n.cfg.Schema, "note", note)
	}
	return err
}

// LookAtSchema looks at the schema files at once instead of within a second,
// and reports whether that loaded them. It waits for Run.
func (n *Node) LookAtSchema(ctx context.Context) (loaded bool, err error) { return n.files.ask(ctx) }

// SchemaRefused says why the files of the configuration are not loaded.
func (n *Node) SchemaRefused() string { return n.files.refused() }
