package datadir_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/datadir"
)

type state struct{ Workers int }

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func open(t *testing.T, path string) *datadir.Dir {
	t.Helper()
	d, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestADirectoryOfAnybodyElseIsNeverTouched(t *testing.T) {
	path := t.TempDir()
	thesis := filepath.Join(path, "thesis.tex")
	write(t, thesis)
	if _, err := datadir.Open(path); !errors.Is(err, datadir.ErrForeign) {
		t.Fatalf("got %v, want ErrForeign", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %d entries now, want 1 (%v)", len(entries), err)
	}
	// A marker that is a directory, which no dev makes, is no permission.
	if err := os.Mkdir(filepath.Join(path, ".firebreak-dev"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := datadir.Open(path); !errors.Is(err, datadir.ErrForeign) {
		t.Errorf("with a directory for a marker: got %v, want ErrForeign", err)
	}
}

func TestClearEmptiesWhatAFormerRunMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "dev")
	d := open(t, path)
	if found, err := d.Load(&state{}); found || err != nil {
		t.Fatalf("a new directory holds a state: %v, %v", found, err)
	}
	if err := d.Clear(); err != nil {
		t.Fatal(err)
	}
	if err := d.Mark(state{Workers: 3}); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside)
	write(t, filepath.Join(path, "node.db"))
	if err := os.Symlink(outside, filepath.Join(path, "link")); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	d = open(t, path)
	var s state
	if found, err := d.Load(&s); !found || err != nil || s.Workers != 3 {
		t.Errorf("loaded %+v, %v, %v", s, found, err)
	}
	if !exists(filepath.Join(path, "node.db")) {
		t.Error("opening removed a file")
	}
	if err := d.Clear(); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(path, "node.db")) || exists(filepath.Join(path, "link")) || !exists(outside) {
		t.Error("Clear left a file, or followed a link")
	}
}

func TestARunThatEndedHalfWayCanBeClearedAgain(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if err := d.Clear(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(path, "half"))
	d.Close()
	d = open(t, path)
	if found, err := d.Load(&state{}); found || err != nil {
		t.Errorf("half a run has a state: %v, %v", found, err)
	}
	if err := d.Clear(); err != nil || exists(filepath.Join(path, "half")) {
		t.Errorf("not cleared: %v", err)
	}
}

func TestASecondHolderIsRefused(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if _, err := datadir.Open(path); !errors.Is(err, datadir.ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	d.Close()
	open(t, path)
}

func TestADamagedStateIsNamed(t *testing.T) {
	path := t.TempDir()
	write(t, filepath.Join(path, ".firebreak-dev"))
	d := open(t, path)
	if _, err := d.Load(&state{}); err == nil {
		t.Error("a damaged state was taken")
	}
}

func TestAFileIsNoDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path)
	if _, err := datadir.Open(path); err == nil {
		t.Error("a file was taken for a directory")
	}
}
