package jsonapi

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// stream writes events: a line each, or as server-sent events with ids.
type stream struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	c      *http.ResponseController
	events bool
	begun  bool
	buf    []byte // of events that need not be sent at once
	err    error
}

// flushAt is how many bytes wait at most.
const flushAt = 32 << 10

func (h *Handler) stream(w http.ResponseWriter, r *http.Request) *stream {
	s := &stream{h: h, w: w, r: r, c: http.NewResponseController(w)}
	s.events = strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	kind := "application/x-ndjson"
	if s.events {
		kind = "text/event-stream"
		w.Header().Set("Cache-Control", "no-store")
	}
	w.Header().Set("Content-Type", kind)
	return s
}

// send writes one event and sends what waited. Id may be empty; name is used by
// server-sent events.
func (s *stream) send(id, name string, data []byte) error {
	s.add(id, name, data)
	return s.flush()
}

// add writes one event of many: it waits until enough have come.
func (s *stream) add(id, name string, data []byte) error {
	b := s.buf
	if s.events {
		if id != "" {
			b = append(append(append(b, "id: "...), id...), '\n')
		}
		b = append(append(append(b, "event: "...), name...), "\ndata: "...)
		b = append(append(b, data...), "\n\n"...)
	} else {
		b = append(append(b, data...), '\n')
	}
	if s.buf = b; len(b) < flushAt {
		return s.err
	}
	return s.flush()
}

func (s *stream) flush() error {
	if s.err != nil {
		return s.err
	}
	s.begun = true
	b := s.buf
	s.buf = nil // a stream may be quiet for long
	if s.err = s.c.SetWriteDeadline(time.Now().Add(s.h.cfg.Stall)); s.err == nil {
		_, s.err = s.w.Write(b)
	}
	if s.err == nil {
		s.err = s.c.Flush()
	}
	if s.err == nil {
		s.err = s.c.SetWriteDeadline(time.Time{})
	}
	return s.err
}

// end closes the stream: with an error as its last event, or cut off if the
// client does not read.
func (s *stream) end(err error) {
	if s.err != nil || s.r.Context().Err() != nil {
		if errors.Is(s.err, os.ErrDeadlineExceeded) {
			s.h.cfg.Logger.Info("a client that did not read was cut off", "path", s.r.URL.Path, "client", s.r.RemoteAddr, "after", s.h.cfg.Stall)
		}
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		obj := errorObject(status.Code(err).String(), err)
		_ = s.send("", "error", obj[:len(obj)-1])
	}
}

// serverStream is what a method that streams sees of a request.
type serverStream struct {
	grpc.ServerStream // nil: nothing else of it is called
	ctx               context.Context
}

func (s serverStream) Context() context.Context { return s.ctx }

// receiver hands a list to a method that reads a stream, and keeps its answer.
type receiver[Req, Res any] struct {
	serverStream
	next func() (*Req, error) // io.EOF at the end
	got  *Res
}

func (s *receiver[Req, Res]) Recv() (*Req, error) { return s.next() }

func (s *receiver[Req, Res]) SendAndClose(res *Res) error {
	s.got = res
	return nil
}

// sender passes what a method streams to a function.
type sender[Res any] struct {
	serverStream
	send func(*Res) error
}

func (s *sender[Res]) Send(res *Res) error { return s.send(res) }
