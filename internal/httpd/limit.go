package httpd

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

func newRefused(reg prometheus.Registerer) *prometheus.CounterVec {
	return promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "firebreak_http_refused_total", Help: "Connections closed at once, and requests and bodies answered 503, because there were as many as may be, by what.",
	}, []string{"what"})
}

// limited is a listener of a bounded number of connections. One more is closed
// at once: its client sees that, and may come again; a queue would hide it.
type limited struct {
	net.Listener
	most    int64
	open    atomic.Int64
	refused prometheus.Counter
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &counted{Conn: c, l: l}, nil
		}
		l.open.Add(-1)
		l.refused.Inc()
		_ = c.Close()
	}
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	l    *limited
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.l.open.Add(-1) })
	return c.Conn.Close()
}

// bounded answers 503 to requests beyond a number at once, over all
// connections: those of HTTP/2 may each have many.
func bounded(most int64, refused prometheus.Counter, large *bodies, next http.Handler) http.Handler {
	var now atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer now.Add(-1)
		if now.Add(1) > most {
			refused.Inc()
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the node has as many requests as it may have at once", http.StatusServiceUnavailable)
			return
		}
		r, done := large.of(r)
		defer done()
		next.ServeHTTP(w, r)
	})
}
