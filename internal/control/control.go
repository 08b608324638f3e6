// Package control holds the kill switches that an operator sets with a file on
// the host, so that they work while every peer, the router and the network are
// down. The file is read again every second. A change that cannot be read
// leaves the switches as they were and is shown in State: a typo during an
// incident must not turn a switch off.
package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/firebreak-dev/firebreak/internal/configfile"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// period is how often the file is looked at.
const period = time.Second

// Switches is the content of a control file.
type Switches struct {
	FreezeEgress bool     `toml:"freeze_egress" doc:"send no replicated data to any peer; what is owed is sent after"`
	DenyNode     []string `toml:"deny_node" doc:"names of nodes whose connections are refused"`
}

// State is what a Control holds now.
type State struct {
	Switches
	Source string // the file; empty if there is none
	Error  string // why the file's last change was not taken
}

// Control follows one control file. Safe for concurrent use.
type Control struct {
	path string
	log  *slog.Logger

	state atomic.Pointer[State]
	taken []byte // content that the switches are from; owned by Open, then by Run
}

// Open reads the control file at path. A missing file is one with every switch
// off; an empty path is no file at all. A file that cannot be read is an
// error: a node must not start with other switches than its operator set.
func Open(path string, log *slog.Logger) (*Control, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Control{path: path, log: log}
	c.state.Store(&State{Source: path})
	if path == "" {
		return c, nil
	}
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	s, err := parse(path, data)
	if err != nil {
		return nil, fmt.Errorf("control file: %w", err)
	}
	c.taken = data
	c.state.Store(&State{Switches: s, Source: path})
	return c, nil
}

// Run follows the file until ctx ends.
func (c *Control) Run(ctx context.Context) error {
	if c.path == "" {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			c.look()
		}
	}
}

// look reads the file once and takes its change, or keeps the switches and
// says why.
func (c *Control) look() {
	held := c.State()
	data, err := read(c.path)
	if err == nil && held.Error == "" && bytes.Equal(data, c.taken) {
		return
	}
	var s Switches
	if err == nil {
		s, err = parse(c.path, data)
	}
	if err != nil {
		if held.Error != err.Error() {
			c.log.Error("control file not taken: the switches stay as they were", "path", c.path, "err", err)
		}
		held.Error = err.Error()
		c.state.Store(&held)
		return
	}
	c.taken = data
	c.state.Store(&State{Switches: s, Source: c.path})
	c.log.Info("control file taken", "path", c.path, "freeze_egress", s.FreezeEgress, "deny_node", s.DenyNode)
}

// FreezeEgress reports whether this node sends nothing.
func (c *Control) FreezeEgress() bool { return c.state.Load().FreezeEgress }

// DenyNode reports whether connections of n are refused.
func (c *Control) DenyNode(n record.Node) bool {
	return slices.Contains(c.state.Load().Switches.DenyNode, string(n))
}

// State returns what is held now.
func (c *Control) State() State {
	s := *c.state.Load()
	s.Switches.DenyNode = slices.Clone(s.Switches.DenyNode)
	return s
}

// read returns the file's content, nil if there is no file.
func read(path string) ([]byte, error) {
	data, err := configfile.Content(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// dashed are the switches as people say and runbooks write them; replaced, every
// line and column stays where it is.
var dashed = regexp.MustCompile(`(?m)^([ \t]*(?:freeze|deny))-((?:egress|node)[ \t]*=)`)

func parse(path string, data []byte) (Switches, error) {
	var s Switches
	if err := configfile.Decode(path, dashed.ReplaceAll(data, []byte("${1}_$2")), &s); err != nil {
		return Switches{}, err
	}
	for _, n := range s.DenyNode {
		if n == "" {
			return Switches{}, configfile.Problems{{File: path, Key: "deny_node", Text: "a name is empty"}}
		}
	}
	return s, nil
}
