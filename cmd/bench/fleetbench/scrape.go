package fleetbench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
)

// What a scrape adds up, as /metrics writes it, without the label of the lane.
const (
	pushBytes = `firebreak_mesh_bytes_sent_total{class="push"}`
	syncSent  = `firebreak_mesh_frames_sent_total{class="sync"}`
	syncBytes = `firebreak_mesh_bytes_sent_total{class="sync"}`
	arrived   = `firebreak_replica_events_total{event="arrived"}`
	taken     = `firebreak_replica_events_total{event="taken"}`
	unpushed  = `firebreak_replica_events_total{event="push_dropped"}`
)

// series are all of them.
func series() []string {
	return []string{pushBytes, syncSent, syncBytes, arrived, taken, unpushed}
}

// sums are of all nodes that were scraped, by series.
type sums map[string]float64

// since is by how much they have grown.
func (s sums) since(before sums) sums {
	out := sums{}
	for name, v := range s {
		out[name] = v - before[name]
	}
	return out
}

const (
	scrapeWithin  = 20 * time.Second // of one node: they share few CPUs
	scrapesAtOnce = 4
	maxMetricLine = 64 << 10
)

// scrape adds up what nodes say. One that does not answer is an error: the
// rest would look like less work.
func scrape(ctx context.Context, nodes []federation.Node) (sums, error) {
	out := sums{}
	var mu sync.Mutex // guards out
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(scrapesAtOnce)
	for _, n := range nodes {
		g.Go(func() error {
			one, err := scrapeOne(ctx, n.Admin)
			if err != nil {
				return fmt.Errorf("metrics of %v: %w", n, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for name, v := range one {
				out[name] += v
			}
			return nil
		})
	}
	return out, g.Wait()
}

func scrapeOne(ctx context.Context, admin string) (sums, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return parseMetrics(resp.Body)
}

// laneLabel is of the one lane that a region node has.
const laneLabel = `lane=""`

// parseMetrics reads the text of /metrics. All that is looked for must be there.
func parseMetrics(from io.Reader) (sums, error) {
	out, wanted := sums{}, series()
	lane := strings.NewReplacer(","+laneLabel, "", laneLabel+",", "")
	in := bufio.NewScanner(from)
	in.Buffer(nil, maxMetricLine)
	for in.Scan() {
		line := in.Text()
		end := strings.LastIndexByte(line, ' ')
		if end < 0 || line[0] == '#' {
			continue
		}
		name := lane.Replace(line[:end])
		if !slices.Contains(wanted, name) {
			continue
		}
		v, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] += v
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	for _, name := range wanted {
		if _, ok := out[name]; !ok {
			return nil, fmt.Errorf("there is no %s", name)
		}
	}
	return out, nil
}
