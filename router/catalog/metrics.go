package catalog

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	installs  prometheus.Counter
	messages  prometheus.Counter
	failovers prometheus.Counter
	apps      prometheus.Gauge
	saves     *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		installs:  counter("firebreak_catalog_installs_total", "Times that changed apps were shown to lookups."),
		messages:  counter("firebreak_catalog_messages_total", "Messages of routers' watches."),
		failovers: counter("firebreak_catalog_failovers_total", "Times that a router was lost."),
		apps:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "firebreak_catalog_apps", Help: "Apps that are known."}),
		saves: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firebreak_catalog_last_good_saves_total", Help: "Writes of the last-good file, by result.",
		}, []string{"result"}),
	}
	if reg != nil {
		reg.MustRegister(m.installs, m.messages, m.failovers, m.apps, m.saves)
	}
	return m
}
