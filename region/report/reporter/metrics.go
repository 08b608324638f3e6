package reporter

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	sessions  prometheus.Gauge
	active    prometheus.Gauge
	sent      *prometheus.CounterVec // by kind
	refused   prometheus.Counter
	dropped   prometheus.Counter
	unconfirm prometheus.Counter
}

// newMetrics registers the metrics with reg; nil leaves them unregistered.
func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "firebreak_report_sessions", Help: "Global nodes that this gateway has a session with."}),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "firebreak_report_active", Help: "1 while this node reports for its region."}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firebreak_report_sent_total", Help: "Records and confirmations sent to global, by kind."}, []string{"kind"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firebreak_report_refused_total", Help: "Reports that global refused."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firebreak_report_dropped_total", Help: "Messages dropped because a global node did not read; its session ends."}),
		unconfirm: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firebreak_report_unconfirmed_total", Help: "Tokens left unanswered because this node was not fit or did not catch up."}),
	}
	if reg != nil {
		reg.MustRegister(m.sessions, m.active, m.sent, m.refused, m.dropped, m.unconfirm)
	}
	return m
}
