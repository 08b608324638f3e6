package sqlite

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firebreak-dev/firebreak/internal/store"
)

// metrics are a database's own. Lanes share a registry, so each carries its
// lane as a constant label.
type metrics struct {
	reg         prometheus.Registerer
	all         []prometheus.Collector
	registered  bool
	local       *prometheus.CounterVec
	deliveries  *prometheus.CounterVec
	commits     prometheus.Histogram
	slices      prometheus.Histogram
	checkpoints prometheus.Counter
	queries     *prometheus.CounterVec
	capped      prometheus.Counter
	isolated    prometheus.Counter
	delayed     prometheus.Counter
	schemaSteps *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer, db *DB) *metrics {
	labels := prometheus.Labels{"lane": db.cfg.Lane}
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "firebreak", Subsystem: "store", Name: n, Help: help, ConstLabels: labels}
	}
	histogram := func(n, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "firebreak", Subsystem: "store", Name: n, Help: help, ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		})
	}
	m := &metrics{
		reg:         reg,
		local:       prometheus.NewCounterVec(prometheus.CounterOpts(name("local_writes_total", "Local transactions, by outcome.")), []string{"outcome"}),
		deliveries:  prometheus.NewCounterVec(prometheus.CounterOpts(name("deliveries_total", "Deliveries from peers, by outcome.")), []string{"outcome"}),
		commits:     histogram("local_commit_seconds", "Time of a group of local writes, commit included."),
		slices:      histogram("apply_slice_seconds", "Time of a slice of peers' records, commit included."),
		checkpoints: prometheus.NewCounter(prometheus.CounterOpts(name("wal_checkpoints_total", "WAL checkpoints run."))),
		queries:     prometheus.NewCounterVec(prometheus.CounterOpts(name("queries_total", "Read-only statements, by outcome.")), []string{"outcome"}),
	}
	m.capped = prometheus.NewCounter(prometheus.CounterOpts(name("withheld_cap_total", "Deliveries refused because too much of their writer is withheld.")))
	m.delayed = prometheus.NewCounter(prometheus.CounterOpts(name("local_delayed_seconds_total", "Time that local writes waited for this node's own budget.")))
	m.isolated = prometheus.NewCounter(prometheus.CounterOpts(name("isolated_total", "Batches that failed to merge and were merged record by record.")))
	m.schemaSteps = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "firebreak", Subsystem: "store", Name: "schema_step_seconds", ConstLabels: labels,
		Help: "Time for which a step of a schema change kept the database, by step.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
	}, []string{"step"})
	told := func(n func(*SchemaStatus) int) func() float64 {
		return func() float64 {
			if s := db.told.Load(); s != nil {
				return float64(n(s))
			}
			return 0
		}
	}
	gauge := func(n, help string, fn func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(name(n, help)), fn)
	}
	m.all = []prometheus.Collector{
		m.local, m.deliveries, m.commits, m.slices, m.checkpoints, m.queries, m.capped, m.isolated, m.delayed, m.schemaSteps,
		gauge("schema_pending_steps", "Steps of schema changes that are still to be done here.", told(func(s *SchemaStatus) int { return len(s.Pending) })),
		gauge("schema_idle_definitions", "Parts of the schema that are there and cannot be in effect.", told(func(s *SchemaStatus) int { return len(s.Idle) })),
		gauge("withheld_records", "Records received and not visible.", func() float64 { return float64(db.withheld().all()) }),
		gauge("wal_bytes", "Size of the write-ahead log.", func() float64 {
			if db.wal == nil {
				return 0
			}
			return float64(db.wal.size())
		}),
		gauge("log_readers", "Readers that keep a long log from starting over.", func() float64 {
			if db.wal == nil {
				return 0
			}
			return float64(len(db.wal.pinned()))
		}),
		gauge("apply_paused", "1 while peers' records wait because the log is too long.", func() float64 {
			if db.wal == nil || !db.wal.paused.Load() {
				return 0
			}
			return 1
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts(name("apply_passed_total", "Times that a delivery was passed over because its writer is over its budget.")), func() float64 { return float64(db.remote.passed()) }),
		gauge("apply_queue", "Deliveries that wait.", func() float64 { return float64(db.remote.length()) }),
	}
	for _, r := range store.Reasons {
		o := name("withheld_by_reason", "Records received and not visible, by reason.")
		o.ConstLabels = prometheus.Labels{"lane": db.cfg.Lane, "reason": string(r)}
		m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts(o), func() float64 { return float64(db.withheld()[reasonAt(r)]) }))
	}
	return m
}

// register makes the metrics visible. Two databases of one lane need
// registries of their own.
func (m *metrics) register() error {
	if m.reg == nil {
		return nil
	}
	for i, c := range m.all {
		if err := m.reg.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return fmt.Errorf("metrics: %w", err)
		}
		m.registered = true
	}
	return nil
}

func (m *metrics) unregister() {
	if m.registered {
		for _, c := range m.all {
			m.reg.Unregister(c)
		}
	}
	m.registered = false
}

func outcomeLabel(l *localWrite) string {
	switch {
	case l.err != nil:
		return "refused"
	case l.commit.Records == 0:
		return "unchanged"
	}
	return "committed"
}

func statusLabel(s store.Status) string {
	switch s {
	case store.Applied:
		return "applied"
	case store.Duplicate:
		return "duplicate"
	}
	return "rejected"
}
