package httpd

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrBodies is what reading a body fails with if bodies are as much as they may
// be in memory: the answer is 503.
var ErrBodies = errors.New("the node holds as many bytes of requests as it may; come again")

// freeBody is what every body may have: a small write is never refused because
// others send, or begin to send, large ones.
const freeBody = 64 << 10

// bodies bounds the bytes of large requests' bodies that were read and whose
// requests have not been answered yet.
type bodies struct {
	most    int64
	now     atomic.Int64
	refused prometheus.Counter
}

// body is one of them.
type body struct {
	io.ReadCloser
	all  *bodies
	read int64
	held atomic.Int64 // counted in all
}

// of returns a copy of r whose body counts, until done. The server keeps r with
// its own body: of that it knows how much is not read, and after a refusal it
// hangs up instead of waiting for more.
func (b *bodies) of(r *http.Request) (counted *http.Request, done func()) {
	if r.Body == nil || r.Body == http.NoBody {
		return r, func() {}
	}
	one := &body{ReadCloser: r.Body, all: b}
	counted = r.WithContext(r.Context())
	counted.Body = one
	return counted, func() { b.now.Add(-one.held.Swap(0)) }
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if more := b.read - freeBody - b.held.Load(); more > 0 {
		b.held.Add(more)
		if b.all.now.Add(more) > b.all.most {
			b.all.refused.Inc()
			return n, ErrBodies
		}
	}
	return n, err
}
