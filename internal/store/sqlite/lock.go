package sqlite

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// fileLock keeps every other process off a database. It lies beside the file:
// a second descriptor of the database itself, closed, would drop the locks
// that SQLite holds on it.
type fileLock struct {
	f *os.File
}

func lockFile(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		var pid [32]byte
		n, _ := f.ReadAt(pid[:], 0)
		_ = f.Close()
		return nil, fmt.Errorf("%w by process %s", ErrInUse, strings.TrimSpace(string(pid[:n])))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &fileLock{f}, nil
}

// release lets go. The file stays: removing it could take away another
// process's lock. It is unlocked before it is closed: a child that is being
// forked at this moment has the descriptor too, until it runs its program.
func (l *fileLock) release() error {
	return errors.Join(unix.Flock(int(l.f.Fd()), unix.LOCK_UN), l.f.Close())
}
