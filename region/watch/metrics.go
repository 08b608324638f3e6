package watch

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	sessions  prometheus.Gauge
	interests prometheus.Gauge
	events    prometheus.Counter
	snapshots prometheus.Counter
	resumes   prometheus.Counter
	lost      prometheus.Counter
	reloads   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		sessions:  gauge("firebreak_watch_sessions", "Watch streams that are open."),
		interests: gauge("firebreak_watch_interests", "Interests of all open watch streams."),
		events:    counter("firebreak_watch_events_total", "Events sent to watchers."),
		snapshots: counter("firebreak_watch_snapshots_total", "Snapshots begun for watchers."),
		resumes:   counter("firebreak_watch_resumes_total", "Watches that went on from their position."),
		lost:      counter("firebreak_watch_lost_total", "Queues of slow watchers that overflowed and cost a snapshot."),
		reloads:   counter("firebreak_watch_reloads_total", "Times the hub fell behind the feed and read everything again."),
	}
}
