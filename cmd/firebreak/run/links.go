package run

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
)

// linksFlag is how `firebreak dev` hands a node the socket on which it says
// how bad the node's network is. Nobody else gives it.
const linksFlag = "links-fd"

// bugFlag is how dev gives the program of a node a bug: see dev/poison. Nobody
// else gives it.
const bugFlag = "bug-file"

// noLinks leaves a node the network of its host, as it is.
const noLinks = -1

// joinLinks sets the network of a node to what is said on a socket, if there
// is one. The returned function goes on listening until its context ends.
func joinLinks(ctx context.Context, fd int, s *shared) (follow func(context.Context) error, err error) {
	if fd == noLinks {
		return func(context.Context) error { return nil }, nil
	}
	unix.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "links")
	if file == nil {
		return nil, fmt.Errorf("--%s %d: no file descriptor", linksFlag, fd)
	}
	defer file.Close() // the connection has a copy
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("--%s %d: %w", linksFlag, fd, err)
	}
	f, err := link.Join(ctx, conn)
	if err != nil {
		return nil, err
	}
	s.network = f.Port
	return f.Run, nil
}
