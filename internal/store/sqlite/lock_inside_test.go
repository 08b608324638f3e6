package sqlite

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A child that was forked and has not run its program yet has the descriptor
// of the lock too, for a moment.
func TestReleasedLockIsFreeWhileAChildHasItsDescriptor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db.lock")
	l, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	child, err := unix.Dup(int(l.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	if _, err := lockFile(path); err == nil {
		t.Fatal("a held lock was taken twice")
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	again, err := lockFile(path)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	if err := again.release(); err != nil {
		t.Fatal(err)
	}
}
