package federation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/firebreak-dev/firebreak/internal/identity"
)

// certificateTTL is that of a throw-away authority's certificates: long enough
// that nobody's laptop wakes up with a federation of expired ones.
const certificateTTL = 365 * 24 * time.Hour

// The names under which dev itself speaks: as the operator who made the
// federation, and as a proxy at its edge.
var (
	operatorID = identity.ID{Fleet: Fleet, Role: identity.Operator, Name: "dev"}
	clientID   = identity.ID{Fleet: Fleet, Role: identity.Client, Name: "edge"}
)

// issue makes the authority of a new directory, or loads that of a former run,
// and a certificate for each identity that has none.
func (p paths) issue(nodes []Node) error {
	authority, err := p.openAuthority()
	if err != nil {
		return err
	}
	ids := []identity.ID{operatorID, clientID}
	for _, n := range nodes {
		ids = append(ids, n.ID())
	}
	for _, id := range ids {
		if err := p.issueOne(authority, id); err != nil {
			return fmt.Errorf("certificate of %v: %w", id, err)
		}
	}
	return nil
}

func (p paths) openAuthority() (*identity.Authority, error) {
	a, err := identity.LoadAuthority(p.authority())
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	if a, err = identity.NewAuthority(Fleet, time.Now()); err != nil {
		return nil, err
	}
	return a, a.Save(p.authority())
}

func (p paths) issueOne(a *identity.Authority, id identity.ID) error {
	files := p.identity(id)
	if _, err := os.Stat(files.Cert); err == nil {
		return nil
	}
	cert, key, err := a.Issue(id, []string{host, "::1", "localhost"}, certificateTTL)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(files.Cert), 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(files.Key, key, 0o600); err != nil {
		return err
	}
	return renameio.WriteFile(files.Cert, cert, 0o600)
}
