package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// The files of a directory of results.
const (
	Latest  = "latest.json"
	History = "history" // a directory: one file per run
)

// Load reads a file of results. One that is missing is fs.ErrNotExist.
func Load(path string) (File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return File{}, fmt.Errorf("results: %w", err)
	}
	f, err := Parse(data)
	if err != nil {
		return File{}, fmt.Errorf("results %s are damaged: %w (restore the file from git, or remove it)", path, err)
	}
	return f, nil
}

// Parse reads results. Anything that Encode does not write is an error.
func Parse(data []byte) (File, error) {
	var f File
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return File{}, fmt.Errorf("line %d: %w", 1+bytes.Count(data[:min(int(dec.InputOffset()), len(data))], []byte("\n")), err)
	}
	if dec.More() {
		return File{}, errors.New("something follows the end")
	}
	if f.Format != Format {
		return File{}, fmt.Errorf("format %d, want %d", f.Format, Format)
	}
	for i, b := range f.Benches {
		if b.Name == "" || b.Verdict == "" {
			return File{}, fmt.Errorf("bench %d has no name or no verdict", i)
		}
		for _, m := range b.Measures {
			if t := m.Target; !t.None() && t.Bound != most && t.Bound != least {
				return File{}, fmt.Errorf("bench %s: unknown bound %q", b.Name, t.Bound)
			}
		}
		if i > 0 && f.Benches[i-1].Name >= b.Name {
			return File{}, fmt.Errorf("bench %s is out of order, or there twice", b.Name)
		}
	}
	return f, nil
}

// Encode gives the JSON of f. Numbers that JSON cannot hold become zero; their
// verdict says what they are.
func (f File) Encode() ([]byte, error) {
	f.Format = Format
	for i := range f.Benches {
		for j := range f.Benches[i].Measures {
			f.Benches[i].Measures[j].finite()
		}
	}
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

func (m *Measure) finite() {
	for _, v := range []*float64{&m.Value, &m.Low, &m.High, &m.Subject, &m.Baseline, &m.Best} {
		if math.IsNaN(*v) || math.IsInf(*v, 0) {
			*v = 0
		}
	}
	for k, v := range m.Details {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			delete(m.Details, k)
		}
	}
}

// Save writes f into dir: as a file of the history, and merged into the latest.
// A damaged latest is an error, and stays as it is.
func (f File) Save(dir string) error {
	latest := filepath.Join(dir, Latest)
	old, err := Load(latest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e := f.Environment
	name := fmt.Sprintf("%s-%s.json", e.At.UTC().Format("20060102T150405Z"), strings.Map(plain, e.Commit))
	if err := write(filepath.Join(dir, History, name), f); err != nil {
		return err
	}
	return write(latest, old.Merge(f))
}

// CheckDir reports why results could not be saved into dir: a latest file that
// is damaged, or a directory that nobody may write into.
func CheckDir(dir string) error {
	if _, err := Load(filepath.Join(dir, Latest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, History), 0o755); err != nil {
		return fmt.Errorf("directory of results: %w", err)
	}
	f, err := os.CreateTemp(dir, ".probe")
	if err != nil {
		return fmt.Errorf("directory of results: %w", err)
	}
	_, err = f.Write(make([]byte, 4096))
	if err = errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("directory of results: %w", err)
	}
	return nil
}

func plain(r rune) rune {
	if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
		return r
	}
	return '-'
}

func write(path string, f File) error {
	data, err := f.Encode()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = renameio.WriteFile(path, data, 0o644) // whole, or not at all
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
