package quic

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	framesOut, framesIn *prometheus.CounterVec // class
	bytesOut, bytesIn   *prometheus.CounterVec // class
	dropped             *prometheus.CounterVec // class, reason
	packetsIn           *prometheus.CounterVec // via
	packetsDropped      *prometheus.CounterVec // reason
	connections         *prometheus.CounterVec // direction
	closed              *prometheus.CounterVec // reason
	refused             *prometheus.CounterVec // direction, reason
	unknown             *prometheus.CounterVec // what
	asks                *prometheus.CounterVec // result
	peers               *prometheus.GaugeVec   // state
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "firebreak_mesh_" + name, Help: help}, labels)
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	m := &metrics{
		framesOut:      counter("frames_sent_total", "Frames written to peers.", "class"),
		framesIn:       counter("frames_received_total", "Frames received from peers.", "class"),
		bytesOut:       counter("bytes_sent_total", "Bytes of frames written to peers.", "class"),
		bytesIn:        counter("bytes_received_total", "Bytes of frames received from peers.", "class"),
		dropped:        counter("frames_dropped_total", "Frames not sent: the queue was full, there was no connection, or it ended.", "class", "reason"),
		packetsIn:      counter("packets_received_total", "Membership packets received, as datagrams or, if too large, on a stream.", "via"),
		packetsDropped: counter("packets_dropped_total", "Membership packets dropped.", "reason"),
		connections:    counter("connections_total", "Connections established.", "direction"),
		closed:         counter("connections_closed_total", "Connections that ended, by the reason given by either side.", "reason"),
		refused:        counter("connections_refused_total", "Connections refused after the TLS handshake, by who refused and why.", "by", "reason"),
		unknown:        counter("unknown_total", "Things of peers that were not understood and skipped.", "what"),
		asks:           counter("asks_total", "Questions asked, by result.", "result"),
		peers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "firebreak_mesh_peers", Help: "Known peers by state.",
		}, []string{"state"}),
	}
	if reg != nil {
		reg.MustRegister(m.peers)
	}
	return m
}
