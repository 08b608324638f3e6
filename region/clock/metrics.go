package clock

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	apart  prometheus.Gauge
	ahead  prometheus.Gauge
	resets *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &metrics{
		apart: gauge("firebreak_region_clock_apart_seconds", "How far the median of the peers' clocks is in front of this node's; 0 while they may agree."),
		ahead: gauge("firebreak_region_clock_ahead_seconds", "How far this node's stamps of shared rows are in front of its clock; 0 while they are within what clocks may differ."),
		resets: f.NewCounterVec(prometheus.CounterOpts{
			Name: "firebreak_region_clock_resets_total", Help: "Resets of the clock of shared tables, by who asked: itself or operator.",
		}, []string{"by"}),
	}
}
