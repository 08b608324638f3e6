package live

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	watches *prometheus.GaugeVec   // state
	looks   *prometheus.CounterVec // how
	changes prometheus.Counter
	refused prometheus.Counter
	renewed prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		watches: f.NewGaugeVec(prometheus.GaugeOpts{Name: "firebreak_live_watches", Help: "Watched queries, by state: followed or resting."}, []string{"state"}),
		looks:   f.NewCounterVec(prometheus.CounterOpts{Name: "firebreak_live_looks_total", Help: "Looks at results of watched queries, by how: the whole query, or the rows of some keys."}, []string{"how"}),
		changes: f.NewCounter(prometheus.CounterOpts{Name: "firebreak_live_changes_total", Help: "Changes of results of watched queries."}),
		renewed: f.NewCounter(prometheus.CounterOpts{Name: "firebreak_live_journal_renewed_total", Help: "Times the journal of watches was found damaged and begun anew; all watches began anew."}),
		refused: f.NewCounter(prometheus.CounterOpts{Name: "firebreak_live_refused_total", Help: "Queries that cannot be watched."}),
	}
}
