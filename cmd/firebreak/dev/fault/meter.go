package fault

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Edges tells what the requests of a run came to.
type Edges interface {
	Errors() map[fleet.Region]int64 // failed so far, by the region of the machine
}

// Meter counts what happens at each node: rows as watches show them, and what
// the nodes say at their admin listeners. Safe for concurrent use.
type Meter struct {
	Plan  federation.Plan
	Ends  func(federation.Node) int // how often a node has ended; required
	Told  func(fleet.Region) int64  // rows that a site's daemons may have changed so far; required
	Edges Edges                     // nil for none

	mu    sync.Mutex
	nodes map[truth.Place]*rows
}

// rows is what one node's watch has shown.
type rows struct {
	last   map[string]uint64       // by key of the row: its content
	owners map[fleet.Worker]uint64 // changes by owner
}

// Row notes a row of fleet_machines as it shows at a node. Content tells
// versions of a row apart: one that shows again, as it does when a watch
// begins anew, is no change.
func (m *Meter) Row(at truth.Place, owner fleet.Worker, id fleet.MachineID, content uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nodes == nil {
		m.nodes = map[truth.Place]*rows{}
	}
	r := m.nodes[at]
	if r == nil {
		r = &rows{last: map[string]uint64{}, owners: map[fleet.Worker]uint64{}}
		m.nodes[at] = r
	}
	key := string(owner) + "/" + string(id)
	if was, ok := r.last[key]; ok && was == content {
		return
	}
	r.last[key] = content
	r.owners[owner]++
}

// Sample returns what was counted so far. A node that does not answer has no
// bytes in it.
func (m *Meter) Sample(ctx context.Context) Sample {
	nodes := m.Plan.Of(federation.Region)
	counts := make([]Count, len(nodes))
	var g errgroup.Group
	g.SetLimit(8)
	for i, n := range nodes {
		g.Go(func() error {
			counts[i] = m.scrape(ctx, n)
			return nil
		})
	}
	_ = g.Wait() // they return nothing
	s := Sample{At: time.Now(), Nodes: map[string]Count{}}
	for i, n := range nodes {
		m.addRows(n, &counts[i])
		counts[i].Restarts = int64(m.Ends(n))
		s.Nodes[nameOf(n)] = counts[i]
	}
	m.addUnasked(s)
	m.addErrors(s)
	return s
}

func (m *Meter) addRows(n federation.Node, c *Count) {
	sites := map[fleet.Worker]string{}
	for _, x := range m.Plan.Of(federation.Region) {
		if x.Region == n.Region {
			sites[x.Name] = nameOf(x)
		}
	}
	c.Owners = map[string]int64{}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.nodes[n.Place()]
	if r == nil {
		return
	}
	for owner, k := range r.owners {
		c.Owners[sites[owner]] += int64(k)
		c.Rows += int64(k)
	}
}

// addUnasked compares, for each site, the rows of its workers that a node has
// shown with what its daemons asked for. The excess is counted once, at the
// first node of the site.
func (m *Meter) addUnasked(s Sample) {
	for _, site := range m.Plan.Spec.Where() {
		nodes := m.Plan.At(site)
		most := int64(0)
		for _, at := range nodes {
			shown := int64(0)
			for _, owner := range nodes {
				shown += s.Nodes[nameOf(at)].Owners[nameOf(owner)]
			}
			most = max(most, shown)
		}
		first := s.Nodes[nameOf(nodes[0])]
		first.Unasked = max(0, most-m.Told(site))
		s.Nodes[nameOf(nodes[0])] = first
	}
}

// addErrors adds a site's failed requests at its first node.
func (m *Meter) addErrors(s Sample) {
	if m.Edges == nil {
		return
	}
	for region, n := range m.Edges.Errors() {
		if nodes := m.Plan.In(region); len(nodes) > 0 {
			first := s.Nodes[nameOf(nodes[0])]
			first.Errors = n
			s.Nodes[nameOf(nodes[0])] = first
		}
	}
}

// scrapeWithin bounds one look at a node's metrics.
const scrapeWithin = 2 * time.Second

func (m *Meter) scrape(ctx context.Context, n federation.Node) Count {
	ctx, cancel := context.WithTimeout(ctx, scrapeWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Admin+"/metrics", nil)
	if err != nil {
		return Count{silent: true}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Count{silent: true} // it is down
	}
	defer resp.Body.Close()
	c, err := parseMetrics(resp.Body)
	if err != nil {
		return Count{silent: true}
	}
	return c
}

// parseMetrics reads what counts from the text of /metrics.
func parseMetrics(r io.Reader) (Count, error) {
	var c Count
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		name, labels, _ := strings.Cut(line[:at], "{")
		var into *int64
		switch {
		case name == "firebreak_mesh_bytes_sent_total":
			into = &c.Bytes
		case name == "firebreak_store_withheld_records":
			into = &c.Withheld
		case name == "firebreak_store_deliveries_total" && strings.Contains(labels, `outcome="rejected"`):
			into = &c.ApplyErrors
		default:
			continue
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return c, fmt.Errorf("metric %s: %w", name, err)
		}
		*into += int64(v)
	}
	return c, in.Err()
}
