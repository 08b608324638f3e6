// Package checkpoint keeps copies of a node's database, from which it can be
// restored as it was at a moment.
//
// Litestream does the copying. It brings an SQLite of its own, and two of them
// on one file in one process corrupt it, so it runs in a child process of the
// same binary (package child) that the node supervises here: one that falls
// silent, or lets the database's log grow too long, is killed, and started
// again once the log has started over. A child that crashes costs the node
// nothing but the copies of a moment.
//
// Every start of a node writes as another writer, and copies to a directory of
// its own, named by node, boot and bits. So two processes that take themselves
// for one node never write to one chain of copies, and no lease is needed.
package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/firebreak-dev/firebreak/internal/record"
)

// Chain is the copies of one start of a node.
type Chain struct {
	Writer record.Writer
	Path   string // the directory
}

// pathOf is where the copies of w lie in dir.
func pathOf(dir string, w record.Writer) string {
	return filepath.Join(dir, url.PathEscape(string(w.Node)), fmt.Sprintf("%d-%016x", w.Boot, w.Bits))
}

// Chains lists the copies in dir, a node's newest start first. An empty node
// means all nodes.
func Chains(dir string, node record.Node) ([]Chain, error) {
	nodes, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var out []Chain
	for _, n := range nodes {
		name, err := url.PathUnescape(n.Name())
		if err != nil || !n.IsDir() || node != "" && record.Node(name) != node {
			continue
		}
		starts, err := os.ReadDir(filepath.Join(dir, n.Name()))
		if err != nil {
			return nil, fmt.Errorf("list checkpoints: %w", err)
		}
		for _, s := range starts {
			if w, ok := parseStart(record.Node(name), s.Name()); ok {
				out = append(out, Chain{w, filepath.Join(dir, n.Name(), s.Name())})
			}
		}
	}
	slices.SortFunc(out, func(a, b Chain) int {
		return cmp.Or(strings.Compare(string(a.Writer.Node), string(b.Writer.Node)), cmp.Compare(b.Writer.Boot, a.Writer.Boot), cmp.Compare(a.Writer.Bits, b.Writer.Bits))
	})
	return out, nil
}

func parseStart(node record.Node, name string) (record.Writer, bool) {
	boot, bits, ok := strings.Cut(name, "-")
	b, err1 := strconv.ParseUint(boot, 10, 64)
	x, err2 := strconv.ParseUint(bits, 16, 64)
	return record.Writer{Node: node, Boot: b, Bits: x}, ok && err1 == nil && err2 == nil && len(bits) == 16
}

// keepChains is how many starts of a node keep their copies: one that crashes
// again and again must not fill the disk.
const keepChains = 8

// prune removes the copies of a node's oldest starts.
func prune(dir string, node record.Node) error {
	chains, err := Chains(dir, node)
	if err != nil {
		return err
	}
	for _, c := range chains[min(len(chains), keepChains):] {
		if err := os.RemoveAll(c.Path); err != nil {
			return fmt.Errorf("remove old checkpoints: %w", err)
		}
	}
	return nil
}
