package region

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	fit         prometheus.Gauge
	rounds      *prometheus.CounterVec
	suspects    prometheus.Gauge
	unconfirmed prometheus.Gauge
	settled     prometheus.Counter
	unsettled   prometheus.Gauge
	propagation prometheus.Histogram
	probesOwn   prometheus.Counter
	strayFrames prometheus.Counter
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
		fit: gauge("firebreak_region_fit", "1 while this node may speak for its region."),
		rounds: f.NewCounterVec(prometheus.CounterOpts{
			Name: "firebreak_region_catchup_rounds_total", Help: "Rounds of catching up with every known node, by outcome.",
		}, []string{"outcome"}),
		suspects:    gauge("firebreak_region_suspect_workers", "Workers whose node is dead or restarting."),
		unconfirmed: gauge("firebreak_region_unconfirmed_machines", "Rows of this worker that wait for its daemon's word."),
		settled:     counter("firebreak_region_settled_total", "Rows of ended machines that were removed."),
		unsettled:   gauge("firebreak_region_unsettled", "Rows of ended machines that some known node has yet to receive."),
		propagation: f.NewHistogram(prometheus.HistogramOpts{
			Name: "firebreak_region_propagation_seconds", Help: "Time from another node's write of its probe to its arrival here, by both clocks.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		probesOwn:   counter("firebreak_region_probes_total", "Probes that this node wrote."),
		strayFrames: counter("firebreak_region_stray_frames_total", "Frames of a lane that a region does not have; dropped."),
	}
}
