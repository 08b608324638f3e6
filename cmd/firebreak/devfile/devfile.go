// Package devfile is dev.json, by which a development federation tells the
// other commands, scripts and tests where its nodes are. Its keys are a
// documented contract: docs/reference/cli.md.
package devfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Name is the file's name in the federation's directory.
const Name = "dev.json"

// EnvDir is the variable that names the directory.
const EnvDir = "FIREBREAK_DEV"

// Dev is the content of dev.json. It is written when every node is ready.
type Dev struct {
	Fleet    string    `json:"fleet"`
	Nodes    []Node    `json:"nodes"`
	Operator *Identity `json:"operator,omitempty"` // a certificate that may do everything
}

// Node is one process of the federation, or its part of one.
type Node struct {
	Role   string `json:"role"`   // region, global or router
	Region string `json:"region"` // empty for globals and routers
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	DB     string `json:"db"`     // region: the database file; else the data directory
	Gossip string `json:"gossip"` // host:port of UDP; empty for routers
	GRPC   string `json:"grpc"`   // host:port of TCP
	HTTP   string `json:"http"`   // host:port of /v1; region nodes only
	Admin  string `json:"admin"`  // host:port of the admin listener
	Socket string `json:"socket,omitempty"`
	Cert   string `json:"cert"` // of this node
	Key    string `json:"key"`
	CA     string `json:"ca"`
}

// Identity is the paths of a certificate.
type Identity struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
	CA   string `json:"ca"`
}

// DefaultDir is where a federation lives when nobody says: $FIREBREAK_DEV,
// else firebreak/dev in $XDG_STATE_HOME, which is ~/.local/state if unset.
func DefaultDir() (string, error) {
	if dir := os.Getenv(EnvDir); dir != "" {
		return dir, nil
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // as the XDG specification says of relative paths
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("directory of the dev federation: %w; set $XDG_STATE_HOME or $%s", err, EnvDir)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "firebreak", "dev"), nil
}

// Read reads dev.json of dir. A missing file is fs.ErrNotExist.
func Read(dir string) (Dev, error) {
	var d Dev
	path := filepath.Join(dir, Name)
	data, err := os.ReadFile(path)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	if len(d.Nodes) == 0 {
		return d, fmt.Errorf("%s: %w", path, errors.New("it lists no nodes"))
	}
	return d, nil
}

// Write replaces dev.json of dir at once, so that a reader never sees half.
func (d Dev) Write(dir string) error {
	if d.Nodes == nil {
		d.Nodes = []Node{}
	}
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", Name, err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, Name), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", Name, err)
	}
	return nil
}

// Of returns the nodes of one role, in their order.
func (d Dev) Of(role string) []Node {
	var out []Node
	for _, n := range d.Nodes {
		if n.Role == role {
			out = append(out, n)
		}
	}
	return out
}
