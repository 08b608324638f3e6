package compat

import (
	"net/http"
	"strconv"
	"time"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/record"
)

// stream writes lines of JSON. A client that reads nothing for too long fails
// it, and then whoever writes aborts the response: a stream that ended in
// order would be the end to the client.
type stream struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	stall time.Duration
	buf   []byte
	err   error
}

// flushAt is how many bytes wait at most.
const flushAt = 32 << 10

func newStream(w http.ResponseWriter, stall time.Duration) *stream {
	return &stream{w: w, c: http.NewResponseController(w), stall: stall}
}

// begin sends the headers at once: clients wait for them.
func (s *stream) begin() {
	s.w.Header()["Content-Type"] = nil
	s.w.WriteHeader(http.StatusOK)
	s.flush()
}

func (s *stream) line(b []byte) {
	s.buf = append(s.buf, b...)
	if len(s.buf) >= flushAt {
		s.flush()
	}
}

func (s *stream) flush() {
	if s.err != nil {
		return
	}
	if s.err = s.c.SetWriteDeadline(time.Now().Add(s.stall)); s.err != nil {
		return
	}
	if len(s.buf) > 0 {
		_, s.err = s.w.Write(s.buf)
		s.buf = s.buf[:0]
	}
	if s.err == nil {
		s.err = s.c.Flush()
	}
	if s.err == nil {
		s.err = s.c.SetWriteDeadline(time.Time{}) // HTTP/2 would cut a stream that is merely quiet
	}
}

func (s *stream) columns(names []string) error {
	b := []byte(`{"columns":[`)
	for i, n := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsonvalue.AppendText(b, n)
	}
	s.line(append(b, "]}\n"...))
	return s.err
}

func (s *stream) row(id uint64, cells []record.Value) error {
	b := strconv.AppendUint([]byte(`{"row":[`), id, 10)
	s.line(append(jsonvalue.AppendRow(append(b, ','), cells), "]}\n"...))
	return s.err
}
