package rpc

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// socketMode lets the node's own user and group in: the worker's daemon runs
// in that group.
const socketMode = 0o660

// ListenSocket listens on a unix socket. A file that a dead process left there
// is replaced; one that answers, or that is no socket, is an error.
func ListenSocket(path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("listen on socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("listen on socket: %s is there and is no socket", path)
	default:
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return nil, fmt.Errorf("listen on socket: another process answers on %s", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on socket: %w", err)
		}
	}
	lis, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		lis.Close()
		return nil, fmt.Errorf("listen on socket: %w", err)
	}
	return lis, nil
}
