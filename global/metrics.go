package global

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	regions     prometheus.Gauge
	serving     prometheus.Gauge
	sessions    prometheus.Gauge
	watches     prometheus.Gauge
	reports     *prometheus.CounterVec // by outcome
	confirmed   prometheus.Counter
	badConfirm  prometheus.Counter
	unknownLane prometheus.Counter
	entries     prometheus.Counter
}

// newMetrics registers the metrics with reg; nil leaves them unregistered.
func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		regions:  gauge("firebreak_global_regions", "Regions in the list."),
		serving:  gauge("firebreak_global_serving", "1 once this node has caught up with its peers since its start."),
		sessions: gauge("firebreak_global_report_sessions", "Gateways that have a report session."),
		watches:  gauge("firebreak_global_watches", "Routers that follow the directory here."),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firebreak_global_reports_total", Help: "Reports judged, by outcome: written, stands, held, refused."}, []string{"outcome"}),
		confirmed:   counter("firebreak_global_confirmations_total", "Confirmations taken."),
		badConfirm:  counter("firebreak_global_confirmations_refused_total", "Confirmations of no token of the session, or of another generation."),
		unknownLane: counter("firebreak_global_unknown_lane_total", "Frames dropped because the list does not name their region here yet."),
		entries:     counter("firebreak_global_entries_total", "Directory entries sent to routers."),
	}
	if reg != nil {
		reg.MustRegister(m.regions, m.serving, m.sessions, m.watches, m.reports, m.confirmed, m.badConfirm, m.unknownLane, m.entries)
	}
	return m
}
