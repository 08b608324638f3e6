package rpc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firebreak-dev/firebreak/internal/identity"
	"github.com/firebreak-dev/firebreak/internal/rpc"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
)

func TestOpenWatchesDoNotHoldUpAStop(t *testing.T) {
	p, h, lis := newPKI(t), newHandler(), tcp(t)
	_, stop := serve(t, rpc.ServerConfig{Identity: p.source(nodeID)}, h, lis)
	w, err := dial(t, lis.Addr().String(), p.source(operatorID)).Watch(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recv(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("the stop took %v", d)
	}
	if cause := <-h.gone; cause == nil || errors.Is(cause, context.Canceled) {
		t.Errorf("the handler does not learn why: %v", cause)
	}
	if _, err := w.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the watcher sees %v, want UNAVAILABLE so that it tries another node", err)
	}
}

func TestStreamThatWaitsForItsClientDoesNotHoldUpAStop(t *testing.T) {
	p, h, lis := newPKI(t), newHandler(), tcp(t)
	_, stop := serve(t, rpc.ServerConfig{Identity: p.source(nodeID)}, h, lis)
	s, err := dial(t, lis.Addr().String(), p.source(operatorID)).Reconcile(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	<-h.caller
	start := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("the stop took %v", d)
	}
	<-h.gone
	if _, err := s.CloseAndRecv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the client sees %v, want UNAVAILABLE", err)
	}
}

func TestCallInHandIsAnsweredBeforeAStop(t *testing.T) {
	p, h, lis := newPKI(t), newHandler(), tcp(t)
	h.caller = make(chan identity.ID) // Publish waits until it is read
	_, stop := serve(t, rpc.ServerConfig{Identity: p.source(nodeID)}, h, lis)
	c := dial(t, lis.Addr().String(), p.source(operatorID))
	answered := make(chan error, 1)
	go func() {
		_, err := c.Publish(deadline(t), &regionpb.PublishRequest{})
		answered <- err
	}()
	h.started.Wait()
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	select {
	case <-stopped:
		t.Error("stopped with a call in hand")
	case <-time.After(600 * time.Millisecond): // longer than streams have
	}
	<-h.caller
	if err := <-answered; err != nil {
		t.Errorf("the call in hand: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
}
