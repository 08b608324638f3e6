package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	adminv1 "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

// bug is the file that gives the program of every region node its bug: see
// package poison.
func (p paths) bug() string { return filepath.Join(p.dir, "bug") }

// Break gives the program of every region node a bug: it fails on peers' rows
// of app [poison.App]. A process of its own ends, else the store panics.
func (f *Federation) Break() error {
	if err := os.WriteFile(f.paths.bug(), nil, 0o600); err != nil {
		return fmt.Errorf("break the nodes' program: %w", err)
	}
	return nil
}

// Repair takes the bug away.
func (f *Federation) Repair() error {
	if err := os.Remove(f.paths.bug()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("repair the nodes' program: %w", err)
	}
	return nil
}

// Held is a record that a node has received and does not show.
type Held struct {
	Table, Key, Hash, Reason string
}

// Withheld returns what a region node withholds.
func (f *Federation) Withheld(ctx context.Context, n Node) ([]Held, error) {
	conn, err := f.dial(n)
	if err != nil {
		return nil, err
	}
	stream, err := adminv1.NewAdminServiceClient(conn).ListWithheld(ctx, &adminv1.ListWithheldRequest{})
	var out []Held
	for err == nil {
		var m *adminv1.ListWithheldResponse
		m, err = stream.Recv()
		for _, w := range m.GetRecords() {
			out = append(out, Held{w.GetTable(), w.GetKey(), w.GetHash(), w.GetReason()})
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("node %v: list what is withheld: %w", n, err)
	}
	return out, nil
}

// Release has a region node judge a withheld record anew.
func (f *Federation) Release(ctx context.Context, n Node, hash string) error {
	conn, err := f.dial(n)
	if err != nil {
		return err
	}
	if _, err := adminv1.NewAdminServiceClient(conn).ReleaseWithheld(ctx, &adminv1.ReleaseWithheldRequest{Hash: hash}); err != nil {
		return fmt.Errorf("node %v: %w", n, err)
	}
	return nil
}

// Shows reports whether a region node shows a machine.
func (f *Federation) Shows(ctx context.Context, n Node, id fleet.MachineID) (bool, error) {
	client, err := f.RegionClient(n)
	if err != nil {
		return false, err
	}
	got, err := client.GetMachine(ctx, &regionv1.GetMachineRequest{Id: string(id)})
	if err != nil {
		return false, fmt.Errorf("node %v: machine %s: %w", n, id, err)
	}
	return len(got.GetClaims()) > 0, nil
}
