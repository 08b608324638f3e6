package checkpoint

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	ended  *prometheus.CounterVec
	copied prometheus.Gauge
	at     prometheus.Gauge
}

func newMetrics() *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "firebreak", Subsystem: "checkpoint", Name: name, Help: help}
	}
	return &metrics{
		ended:  prometheus.NewCounterVec(prometheus.CounterOpts(opts("children_ended_total", "Ends of the checkpoint child, by why.")), []string{"why"}),
		copied: prometheus.NewGauge(prometheus.GaugeOpts(opts("copied_transaction", "Number of the last transaction in the checkpoints of this start."))),
		at:     prometheus.NewGauge(prometheus.GaugeOpts(opts("alive_timestamp_seconds", "When the checkpoint child last said that all is well."))),
	}
}

func (m *metrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.ended, m.copied, m.at} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}
