package rpc

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	handled *prometheus.CounterVec   // by method and code
	seconds *prometheus.HistogramVec // by method
	denied  prometheus.Counter
	panics  prometheus.Counter
}

// newMetrics makes the metrics of one listener ("tcp", "socket"): a node has
// two.
func newMetrics(reg prometheus.Registerer, listener string) *metrics {
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"listener": listener}, reg)
	}
	f := promauto.With(reg)
	return &metrics{
		handled: f.NewCounterVec(prometheus.CounterOpts{
			Name: "firebreak_rpc_handled_total", Help: "Calls answered, by method and gRPC code.",
		}, []string{"method", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "firebreak_rpc_seconds", Help: "Time to answer a call; of a stream, its life.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"method"}),
		denied: f.NewCounter(prometheus.CounterOpts{
			Name: "firebreak_rpc_denied_total", Help: "Calls refused because of who made them.",
		}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "firebreak_rpc_panics_total", Help: "Handlers that panicked; each cost its call.",
		}),
	}
}
