package runner

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/mesh"
	"github.com/firebreak-dev/firebreak/internal/replica"
)

// Traffic counts frames of a class.
type Traffic struct{ Frames, Bytes uint64 }

func (t *Traffic) add(bytes int) { t.Frames, t.Bytes = t.Frames+1, t.Bytes+uint64(bytes) }

// Stats is a view of a runner. Traffic is indexed by class: push, then sync.
type Stats struct {
	replica.Stats
	Sent, Received       [2]Traffic
	Collected, Forgotten uint64 // tombstones dropped, and writers, since the start
}

// Stats returns a view of the moment; zero before Run, the last after it.
func (r *Runner) Stats() Stats {
	select {
	case <-r.started:
	default:
		return Stats{}
	}
	var s Stats
	if r.call(context.Background(), func(l *loop) { s = l.snapshotStats() }) != nil {
		s = r.view.lastStats()
	}
	return s
}

// number is a metric without labels beside the lane.
type number struct {
	desc  *prometheus.Desc
	typ   prometheus.ValueType
	value func(Stats) float64
}

// metrics reads a runner's stats when it is scraped.
type metrics struct {
	r       *Runner
	numbers []number
	events  *prometheus.Desc
	frames  *prometheus.Desc
	bytes   *prometheus.Desc
}

func newMetrics(r *Runner) *metrics {
	lane := prometheus.Labels{"lane": r.cfg.Lane}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("firebreak_replica_"+name, help, labels, lane)
	}
	gauge := func(name, help string, value func(Stats) float64) number {
		return number{desc(name, help), prometheus.GaugeValue, value}
	}
	return &metrics{
		r: r,
		numbers: []number{
			gauge("writers", "Writers of whom something was received.", func(s Stats) float64 { return float64(s.Writers) }),
			gauge("gap_versions", "Versions missing below known heads.", func(s Stats) float64 { return float64(s.Gaps) }),
			gauge("queue_deliveries", "Deliveries that wait for the store.", func(s Stats) float64 { return float64(s.Queue) }),
			gauge("queue_bytes", "Bytes of the deliveries that wait for the store.", func(s Stats) float64 { return float64(s.QueueBytes) }),
			gauge("behind_versions", "Versions that some peer had and this node lacked at the last comparison.", behind),
			gauge("closing_waiting_nodes", "Known nodes that hold up the closing of this node's earlier starts.", func(s Stats) float64 { return float64(len(s.Closing.Waiting)) }),
			gauge("owed_peers", "Peers that a dropped push left owed a sync.", owed),
		},
		events: desc("events_total", "What happened to changesets and frames.", "event"),
		frames: desc("frames_total", "Frames by class and direction.", "class", "direction"),
		bytes:  desc("bytes_total", "Bytes of frames by class and direction.", "class", "direction"),
	}
}

func behind(s Stats) float64 {
	most := uint64(0)
	for _, p := range s.Peers {
		most = max(most, p.Behind)
	}
	return float64(most)
}

func owed(s Stats) float64 {
	n := 0
	for _, p := range s.Peers {
		if p.Owed {
			n++
		}
	}
	return float64(n)
}

// event is a label of events_total and its count.
type event struct {
	name  string
	count uint64
}

func events(s replica.Stats) []event {
	return []event{
		{"written", s.Written}, {"arrived", s.Arrived}, {"taken", s.Taken}, {"duplicate", s.Duplicates},
		{"queue_dropped", s.QueueDropped}, {"push_dropped", s.PushDropped}, {"owed", s.Owed}, {"malformed", s.Malformed},
		{"unknown", s.Unknown}, {"foreign", s.Foreign}, {"unasked", s.Unasked}, {"capped", s.Capped},
		{"timeout", s.Timeouts}, {"damaged", s.Damaged}, {"listing", s.Listings}, {"repaired", s.Repaired},
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, n := range m.numbers {
		ch <- n.desc
	}
	ch <- m.events
	ch <- m.frames
	ch <- m.bytes
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.r.Stats()
	for _, n := range m.numbers {
		ch <- prometheus.MustNewConstMetric(n.desc, n.typ, n.value(s))
	}
	for _, e := range append(events(s.Stats), event{"collected", s.Collected}, event{"forgotten", s.Forgotten}) {
		ch <- prometheus.MustNewConstMetric(m.events, prometheus.CounterValue, float64(e.count), e.name)
	}
	for _, dir := range []struct {
		name string
		by   [2]Traffic
	}{{"sent", s.Sent}, {"received", s.Received}} {
		for i, t := range dir.by {
			class := (mesh.Push + mesh.Class(i)).String()
			ch <- prometheus.MustNewConstMetric(m.frames, prometheus.CounterValue, float64(t.Frames), class, dir.name)
			ch <- prometheus.MustNewConstMetric(m.bytes, prometheus.CounterValue, float64(t.Bytes), class, dir.name)
		}
	}
}
