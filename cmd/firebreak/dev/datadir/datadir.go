// Package datadir is the directory of a federation under `firebreak dev`. It
// is emptied only if a former run made it, which a marker file says; a
// directory of anybody else's is never touched. One process holds it at a
// time, by a lock.
package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// The files of the directory itself.
const (
	marker = ".firebreak-dev"
	lock   = ".firebreak-dev.lock"
)

// Errors a caller branches on.
var (
	ErrForeign = errors.New("is not empty and no former dev made it")
	ErrInUse   = errors.New("is in use by another dev")
)

// Dir is a held directory. Close releases it and leaves the files.
type Dir struct {
	Path string
	lock *os.File
}

// Open takes the directory at path, which it creates if need be.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := check(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(path, lock), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s %w", path, ErrInUse)
		}
		return nil, fmt.Errorf("data directory %s: lock: %w", path, err)
	}
	return &Dir{Path: path, lock: f}, nil
}

// check refuses a directory with content that has no marker.
func check(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	foreign := ""
	for _, e := range entries {
		switch e.Name() {
		case marker:
			if e.Type().IsRegular() {
				return nil
			}
			foreign = e.Name()
		case lock:
		default:
			foreign = e.Name()
		}
	}
	if foreign != "" {
		return fmt.Errorf("data directory %s %w (it holds %q): choose another, or empty it yourself", path, ErrForeign, foreign)
	}
	return nil
}

// Load reads into v what the last Mark wrote. It reports whether there is any.
func (d *Dir) Load(v any) (bool, error) {
	b, err := os.ReadFile(filepath.Join(d.Path, marker))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("data directory: %w", err)
	}
	if len(b) == 0 {
		return false, nil // cleared, and the run that did so ended at once
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("data directory: %s: %w", filepath.Join(d.Path, marker), err)
	}
	return true, nil
}

// Clear removes everything but the lock and the marker, which is left empty:
// a run that ends half way leaves a directory that the next one may clear.
func (d *Dir) Clear() error {
	if err := check(d.Path); err != nil {
		return err
	}
	if err := d.write(nil); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() == marker || e.Name() == lock {
			continue
		}
		if err := os.RemoveAll(filepath.Join(d.Path, e.Name())); err != nil {
			return fmt.Errorf("data directory: empty it: %w", err)
		}
	}
	return nil
}

// Mark writes the marker with v, which a later run under --resume reads.
func (d *Dir) Mark(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return d.write(append(b, '\n'))
}

func (d *Dir) write(b []byte) error {
	if err := renameio.WriteFile(filepath.Join(d.Path, marker), b, 0o600); err != nil {
		return fmt.Errorf("data directory: write its marker: %w", err)
	}
	return nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.lock.Close() }
