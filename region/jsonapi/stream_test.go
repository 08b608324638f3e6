package jsonapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

var errGone = errors.New("gone")

// deaf is a client that reads nothing.
type deaf struct{ http.ResponseWriter }

func (deaf) Write([]byte) (int, error)        { return 0, errGone }
func (deaf) FlushError() error                { return errGone }
func (deaf) SetWriteDeadline(time.Time) error { return nil }

// What cannot be sent ends a watch of rows: nothing else comes from a client of
// HTTP, so waiting for its next request would keep the watch for ever.
func TestWatchOfRowsEndsWhenNobodyReads(t *testing.T) {
	h := &Handler{}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/watch?app=web", nil)
	s := newRowStream(h.stream(deaf{httptest.NewRecorder()}, r))
	synced := &regionv1.WatchResponse{Event: &regionv1.WatchResponse_Synced{Synced: &regionv1.WatchSynced{}}}
	if err := s.Send(synced); !errors.Is(err, errGone) {
		t.Fatalf("sent: %v", err)
	}
	if _, err := s.Recv(); err == nil {
		t.Error("it goes on receiving")
	}
}

// Many rows are few writes; what ends them is not kept waiting.
func TestRowsAreWrittenTogether(t *testing.T) {
	h := &Handler{}
	w := httptest.NewRecorder()
	s := h.stream(deadlined{w}, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	for range 100 {
		if err := s.add("", "row", []byte(`{"row":[1]}`)); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.Body.Len(); n != 0 {
		t.Errorf("%d bytes were written before there were enough", n)
	}
	if err := s.send("", "end", []byte(`{"end":{}}`)); err != nil || w.Body.Len() != 100*12+11 {
		t.Errorf("%d bytes at the end, %v", w.Body.Len(), err)
	}
}

type deadlined struct{ http.ResponseWriter }

func (d deadlined) Unwrap() http.ResponseWriter    { return d.ResponseWriter }
func (deadlined) SetWriteDeadline(time.Time) error { return nil }
