package identity

import "github.com/prometheus/client_golang/prometheus"

// Reasons of a refused handshake, as metric labels.
const (
	refusedNone   = "none"   // no certificate
	refusedChain  = "chain"  // another authority, or not for this use
	refusedTime   = "time"   // expired or not yet valid
	refusedName   = "name"   // not exactly one URI, odd path, wrong usages
	refusedFleet  = "fleet"  // another fleet
	refusedAccept = "policy" // region, role or name that may not come here
)

type metrics struct {
	notAfter prometheus.Gauge
	reloads  *prometheus.CounterVec
	refused  *prometheus.CounterVec
	unlogged prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		notAfter: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "firebreak_certificate_not_after_seconds",
			Help: "When this process's certificate expires, in Unix seconds.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firebreak_certificate_reloads_total",
			Help: "Times that certificate files had changed, by result: ok, or failed (the last good ones stay).",
		}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firebreak_handshakes_refused_total",
			Help: "Handshakes refused by this process, by reason.",
		}, []string{"reason"}),
		unlogged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firebreak_handshakes_refused_unlogged_total",
			Help: "Refused handshakes that were not logged because there were too many.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.notAfter, m.reloads, m.refused, m.unlogged)
	}
	return m
}
