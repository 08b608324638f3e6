// Package fault breaks a federation on purpose, and says who noticed. A
// command names what to break; the engine does it, one at a time, and tells
// what should stay unaffected; the verdict is, for each fault, which regions
// were touched, and it is bad if one was that should not have been.
package fault

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/link"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Kind is what is done.
type Kind string

// The kinds of faults, and Heal, which mends all of them.
const (
	Partition  Kind = "partition"
	Delay      Kind = "delay"
	Loss       Kind = "loss"
	Kill       Kind = "kill"
	Stop       Kind = "stop"
	Poison     Kind = "poison"
	Storm      Kind = "storm"
	MassDelete Kind = "mass-delete"
	Upgrade    Kind = "upgrade"
	Heal       Kind = "heal"
)

// Usage lists every command.
const Usage = `  partition TARGET               nothing passes between TARGET and everybody else
  delay TARGET TIME              what TARGET sends and receives is late: delay globals 200ms
  loss TARGET SHARE              some of it is lost: loss region iad 5%
  kill TARGET                    nodes end without a farewell (SIGKILL with --processes)
  stop TARGET                    nodes are told to stop
  storm region R                 100 times the writes in one region
  mass-delete region R           all machines of a region, or of one worker, are withdrawn
  mass-delete node R/N
  upgrade region R [at-once]     every node is restarted, one after the other or all at once
  poison region R                a row that the program of every node but its writer's fails on
  heal                           mends everything
TARGET is "region R", "node R/N,R/N" (also global/N, router/N), "globals" or "routers".`

// Target is who a fault is about. One field is set.
type Target struct {
	Region fleet.Region
	Nodes  []string // region/name, global/name, router/name
	Tier   federation.Role
}

// String is the target as it is written in a command.
func (t Target) String() string {
	switch {
	case t.Region != "":
		return "region " + string(t.Region)
	case t.Tier != "":
		return string(t.Tier) + "s"
	}
	return "node " + strings.Join(t.Nodes, ",")
}

// Command is one fault, or the end of all.
type Command struct {
	Kind   Kind
	Target Target
	Delay  time.Duration // of Delay
	Loss   float64       // of Loss, 0..1
	AtOnce bool          // of Upgrade
}

// String is the command as Parse reads it.
func (c Command) String() string {
	words := []string{string(c.Kind)}
	if c.Kind != Heal {
		words = append(words, c.Target.String())
	}
	switch {
	case c.Kind == Delay:
		words = append(words, c.Delay.String())
	case c.Kind == Loss:
		words = append(words, fmt.Sprintf("%v%%", c.Loss*100))
	case c.AtOnce:
		words = append(words, "at-once")
	}
	return strings.Join(words, " ")
}

// Parse reads a command. Whether its names exist is for Check to say.
func Parse(words []string) (Command, error) {
	if len(words) == 0 {
		return Command{}, errors.New("no command")
	}
	c := Command{Kind: Kind(words[0])}
	rest := words[1:]
	switch c.Kind {
	case Heal:
		return c, nothingLeft(c.Kind, rest)
	case Partition, Delay, Loss, Kill, Stop, Poison, Storm, MassDelete, Upgrade:
	default:
		return c, fmt.Errorf("unknown fault %q: want partition, delay, loss, kill, stop, poison, storm, mass-delete, upgrade or heal", words[0])
	}
	var err error
	if c.Target, rest, err = parseTarget(rest); err != nil {
		return c, fmt.Errorf("%s: %w", c.Kind, err)
	}
	if rest, err = c.parseMore(rest); err != nil {
		return c, fmt.Errorf("%s: %w", c.Kind, err)
	}
	return c, nothingLeft(c.Kind, rest)
}

func nothingLeft(k Kind, rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%s: %q is too much", k, strings.Join(rest, " "))
	}
	return nil
}

var errTarget = errors.New(`want a target: "region R", "node R/N", "globals" or "routers"`)

func parseTarget(words []string) (t Target, rest []string, err error) {
	if len(words) == 0 {
		return t, nil, errTarget
	}
	switch words[0] {
	case "globals":
		return Target{Tier: federation.Global}, words[1:], nil
	case "routers":
		return Target{Tier: federation.Router}, words[1:], nil
	case "region", "node":
	default:
		return t, nil, errTarget
	}
	if len(words) < 2 || words[1] == "" {
		return t, nil, fmt.Errorf("%s: want its name", words[0])
	}
	if words[0] == "region" {
		return Target{Region: fleet.Region(words[1])}, words[2:], nil
	}
	nodes := strings.Split(words[1], ",")
	slices.Sort(nodes)
	return Target{Nodes: slices.Compact(nodes)}, words[2:], nil
}

// parseMore reads what follows the target.
func (c *Command) parseMore(rest []string) ([]string, error) {
	next := func(what string) (string, error) {
		if len(rest) == 0 {
			return "", fmt.Errorf("want %s after the target", what)
		}
		word := rest[0]
		rest = rest[1:]
		return word, nil
	}
	switch c.Kind {
	case Delay:
		word, err := next("a time")
		if err == nil {
			c.Delay, err = link.ParseDelay(word)
		}
		return rest, err
	case Loss:
		word, err := next("a share")
		if err == nil {
			c.Loss, err = link.ParseLoss(word)
		}
		return rest, err
	case Poison, Storm, Upgrade:
		if c.Target.Region == "" {
			return nil, errors.New("want \"region R\"")
		}
	case MassDelete:
		if c.Target.Tier != "" {
			return nil, errors.New("want \"region R\" or \"node R/N\"")
		}
	}
	if c.Kind == Upgrade && len(rest) > 0 && (rest[0] == "rolling" || rest[0] == "at-once") {
		c.AtOnce = rest[0] == "at-once"
		rest = rest[1:]
	}
	return rest, nil
}

// Check reports whether the command's names exist.
func (c Command) Check(p federation.Plan) error {
	if c.Kind == Heal {
		return nil
	}
	nodes, err := c.Target.Resolve(p)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Kind, err)
	}
	for _, n := range nodes {
		if c.Kind == MassDelete && n.Role != federation.Region {
			return fmt.Errorf("%s: %v has no machines", c.Kind, n)
		}
	}
	return nil
}

// Resolve returns the nodes of a target. A region of a flat federation is the
// part of it that would be that region.
func (t Target) Resolve(p federation.Plan) ([]federation.Node, error) {
	switch {
	case t.Tier != "":
		return p.Of(t.Tier), nil
	case t.Region != "":
		nodes := p.At(t.Region)
		if len(nodes) == 0 {
			return nil, fmt.Errorf("there is no region %q", string(t.Region))
		}
		return nodes, nil
	}
	var out []federation.Node
	for _, name := range t.Nodes {
		i := slices.IndexFunc(p.Nodes, func(n federation.Node) bool { return name == nameOf(n) })
		if i < 0 {
			return nil, fmt.Errorf("there is no node %q", name)
		}
		out = append(out, p.Nodes[i])
	}
	return out, nil
}

// nameOf is a node's name in commands: in a flat federation that which it would
// have with two levels, so that the same script runs on both.
func nameOf(n federation.Node) string {
	if n.Site != "" {
		return string(n.Site) + "/" + string(n.Name)
	}
	return n.String()
}
