package federation

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
)

// childLinks are the two ends of a socket over which a child hears of its
// links. The zero value is of one that has the host's own network.
type childLinks struct {
	links  *link.Links
	ours   net.Conn
	theirs *os.File
}

// giveLinks hands a child that is about to be started the socket of its links.
func (f *Federation) giveLinks(cmd *exec.Cmd) (c childLinks, err error) {
	if f.cfg.Links == nil {
		return c, nil
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return c, fmt.Errorf("socket of a node's links: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "links")
	defer ours.Close() // the connection has a copy
	c = childLinks{links: f.cfg.Links, theirs: os.NewFile(uintptr(fds[1]), "links")}
	if c.ours, err = net.FileConn(ours); err != nil {
		c.theirs.Close()
		return childLinks{}, fmt.Errorf("socket of a node's links: %w", err)
	}
	const firstExtra = 3 // after stdin, stdout and stderr
	cmd.Args = append(cmd.Args, "--links-fd", strconv.Itoa(firstExtra))
	cmd.ExtraFiles = []*os.File{c.theirs}
	return c, nil
}

// serve tells the child, which has begun, of its links, until the returned
// function is called.
func (c childLinks) serve(ctx context.Context, n Node) (stop func()) {
	if c.links == nil {
		return func() {}
	}
	c.theirs.Close() // the child has its own
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() { c.links.Serve(ctx, link.Node(n.String()), c.ours) })
	return func() {
		cancel()
		serving.Wait()
	}
}

// close is for a child that could not begin.
func (c childLinks) close() {
	if c.links != nil {
		c.theirs.Close()
		c.ours.Close()
	}
}
