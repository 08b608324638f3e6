// Package survey asks every node of a federation, at the end of a run, which
// version it is and what it has used.
package survey

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	globalv1 "github.com/firebreak-dev/firebreak/proto/firebreak/global/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerv1 "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

// Nodes is what a survey needs of a federation.
type Nodes interface {
	Plan() federation.Plan
	RegionClient(n federation.Node) (regionv1.RegionServiceClient, error)
	DirectoryClient(n federation.Node) (globalv1.DirectoryServiceClient, error)
	RouterClient(n federation.Node) (routerv1.RouterServiceClient, error)
}

// Silent stands for the version of a node that does not answer.
const Silent = "silent"

// Report is what came out. The keys are a contract:
// docs/reference/dev-report.md.
type Report struct {
	Versions   map[string]int   `json:"versions"`   // nodes of each version
	Bytes      map[string]int64 `json:"bytes"`      // sent inside clusters, by class
	Goroutines int64            `json:"goroutines"` // of all processes
}

// Bounds.
const (
	within    = 2 * time.Second // of one question
	maxAtOnce = 8
)

// Ask asks all nodes. One that does not answer counts as nothing, and its
// version as Silent.
func Ask(ctx context.Context, nodes Nodes) Report {
	out := Report{Versions: map[string]int{}, Bytes: map[string]int64{}, Goroutines: int64(runtime.NumGoroutine())}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(maxAtOnce)
	for _, n := range nodes.Plan().Nodes {
		g.Go(func() error {
			version, used := versionOf(ctx, nodes, n), usedBy(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			out.Versions[version]++
			out.Goroutines += used.goroutines
			for class, bytes := range used.bytes {
				out.Bytes[class] += bytes
			}
			return nil
		})
	}
	_ = g.Wait() // they return nothing
	return out
}

func versionOf(ctx context.Context, nodes Nodes, n federation.Node) string {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	version, err := askVersion(ctx, nodes, n)
	if err != nil || version == "" {
		return Silent
	}
	return version
}

func askVersion(ctx context.Context, nodes Nodes, n federation.Node) (string, error) {
	switch n.Role {
	case federation.Region:
		c, err := nodes.RegionClient(n)
		if err != nil {
			return "", err
		}
		s, err := c.Status(ctx, &regionv1.StatusRequest{})
		return s.GetVersion(), err
	case federation.Global:
		c, err := nodes.DirectoryClient(n)
		if err != nil {
			return "", err
		}
		s, err := c.Status(ctx, &globalv1.StatusRequest{})
		return s.GetVersion(), err
	}
	c, err := nodes.RouterClient(n)
	if err != nil {
		return "", err
	}
	s, err := c.Status(ctx, &routerv1.StatusRequest{})
	return s.GetVersion(), err
}

func usedBy(ctx context.Context, n federation.Node) used {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Admin+"/metrics", nil)
	if err != nil {
		return used{}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return used{} // it is down
	}
	defer resp.Body.Close()
	u, err := read(resp.Body)
	if err != nil {
		return used{} // cut off: half of it would mislead
	}
	return u
}
