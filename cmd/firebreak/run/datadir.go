package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/firebreak-dev/firebreak/internal/identity"
)

// lockFile is held by the one process of a data directory. Its content names
// that process, for a person.
const lockFile = "process.lock"

// lock makes the data directory if it is missing and takes it for this
// process. The kernel lets go of it when the process ends, however it ends.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, explain(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, explain(dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s: another process uses it%s", dir, holder(f))
		}
		return nil, explain(dir, err)
	}
	if err := note(f); err != nil {
		f.Close()
		return nil, explain(dir, err)
	}
	return func() { f.Close() }, nil
}

// note writes who holds the lock.
func note(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// holder says which process wrote the lock file, if one did.
func holder(f *os.File) string {
	b := make([]byte, 32)
	n, _ := f.ReadAt(b, 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}

// ownerFile says whose the data directory is, so that no other role, node,
// region or fleet takes it, whatever files it would look for there.
const ownerFile = "owner"

// owner is the line of an owner file. A region's node may become a gateway.
func owner(id identity.ID) string {
	cluster := id.Role.String()
	if id.Region != "" {
		cluster = "region " + id.Region
	}
	return fmt.Sprintf("fleet %s, %s, node %s", id.Fleet, cluster, id.Name)
}

// checkOwner refuses a directory that is another's.
func checkOwner(dir string, id identity.ID) error {
	b, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return explain(dir, err)
	}
	if had := strings.TrimSpace(string(b)); had != owner(id) {
		return fmt.Errorf("data directory %s is of %s; this is %s: give each process a directory of its own", dir, had, owner(id))
	}
	return nil
}

// writeOwner marks a directory that this process has opened.
func writeOwner(dir string, id identity.ID) error {
	if err := renameio.WriteFile(filepath.Join(dir, ownerFile), []byte(owner(id)+"\n"), 0o640); err != nil {
		return explain(dir, err)
	}
	return nil
}

// explain says what an error of the data directory means.
func explain(dir string, err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("data directory %s is on a read-only file system: %w", dir, err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("data directory %s: the file system is full: %w", dir, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("data directory %s: user %d may not write there: %w", dir, os.Getuid(), err)
	}
	return fmt.Errorf("data directory %s: %w", dir, err)
}
