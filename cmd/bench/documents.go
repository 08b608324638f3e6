package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

// document is a page that shows results, between its marks.
type document struct {
	path string // from the repository's root
	mark string
	text func(result.File) string
}

// documents are all of them.
func documents() []document {
	return []document{
		{"docs/performance.md", "results", result.File.Markdown},
		{"README.md", "performance", result.File.Summary},
	}
}

// render returns a document as it is and as it should be.
func (d document) render(root string, f result.File) (is, should string, err error) {
	data, err := os.ReadFile(filepath.Join(root, d.path))
	if err != nil {
		return "", "", err
	}
	should, err = result.Splice(string(data), d.mark, d.text(f))
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", d.path, err)
	}
	return string(data), should, nil
}

// writeDocuments shows the latest results of dir in all documents below root.
func writeDocuments(root, dir string) error {
	f, err := result.Load(filepath.Join(dir, result.Latest))
	if err != nil {
		return err
	}
	for _, d := range documents() {
		is, should, err := d.render(root, f)
		if err == nil && is != should {
			err = renameio.WriteFile(filepath.Join(root, d.path), []byte(should), 0o644)
		}
		if err != nil {
			return fmt.Errorf("write results into a document: %w", err)
		}
	}
	return nil
}
