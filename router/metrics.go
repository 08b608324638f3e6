package router

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/router/join"
)

type metrics struct {
	failovers  prometheus.Counter
	entries    prometheus.Counter
	badEntries prometheus.Counter
	asks       *prometheus.CounterVec
	hedges     *prometheus.CounterVec
	lookups    *prometheus.CounterVec
	watches    prometheus.Gauge
	interests  *prometheus.GaugeVec
	badRows    *prometheus.CounterVec
	streams    *prometheus.CounterVec
	resumes    *prometheus.CounterVec
	positions  *prometheus.CounterVec
	saves      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		failovers:  counter("firebreak_router_global_failovers_total", "Times that the router left the global node it followed."),
		entries:    counter("firebreak_router_directory_changes_total", "Directory entries that changed the router's copy."),
		badEntries: counter("firebreak_router_directory_refused_total", "Directory entries and confirmations that were malformed."),
		asks:       counters("firebreak_router_asks_total", "Questions to a region, by the coverage they led to.", "region", "state"),
		hedges:     counters("firebreak_router_hedges_total", "Questions that went to a second gateway too.", "region"),
		lookups:    counters("firebreak_router_lookups_total", "Lookups, by whether the answer was complete.", "complete"),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "firebreak_router_watches", Help: "Watch streams of clients."}),
		interests: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "firebreak_router_interests", Help: "Apps that the router watches in a region."}, []string{"region"}),
		badRows:   counters("firebreak_router_watch_refused_total", "Messages of a region's watch that were dropped as malformed.", "region"),
		streams:   counters("firebreak_router_watch_streams_total", "Watch streams to a region that began.", "region"),
		resumes:   counters("firebreak_router_watch_resumes_total", "Apps that clients' watches went on with in a region, by whether their position held.", "region", "result"),
		positions: counters("firebreak_router_watch_positions_total", "Positions that clients came back with, by whether they could be read.", "result"),
		saves:     counters("firebreak_router_last_good_saves_total", "Writes of the last-good file, by result.", "result"),
	}
	if reg != nil {
		reg.MustRegister(m.failovers, m.entries, m.badEntries, m.asks, m.hedges, m.lookups, m.watches,
			m.interests, m.badRows, m.streams, m.resumes, m.positions, m.saves)
	}
	return m
}

// resumed counts what became of positions between two readings.
func (m *metrics) resumed(region fleet.Region, before, after join.Resumes) {
	if n := after.Held - before.Held; n > 0 {
		m.resumes.WithLabelValues(string(region), "held").Add(float64(n))
	}
	if n := after.Lost - before.Lost; n > 0 {
		m.resumes.WithLabelValues(string(region), "lost").Add(float64(n))
	}
}
