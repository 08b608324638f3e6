//go:build mutant

package fedsim

import "errors"

// files is nothing in the build of a mutant: without SQLite that takes a few
// seconds.
type files struct{}

func newFiles() (*files, error) {
	return nil, errors.New("a mutant is built without real databases")
}

func (f *files) newDisk() disk { return nil }

func (f *files) close() {}
