package watch_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/read"
	"github.com/firebreak-dev/firebreak/region/table"
	"github.com/firebreak-dev/firebreak/region/watch"
)

// node is a store with a hub, and no network.
type node struct {
	t     *testing.T
	disk  *memory.Disk
	store *memory.Store
	hub   *watch.Hub
	srv   *watch.Server
	stop  func()
}

func start(t *testing.T, disk *memory.Disk) *node {
	t.Helper()
	st, err := memory.Open(memory.Config{Fleet: "f", Cluster: "region/iad", Node: "w1", Tables: table.All(), Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	hub, err := watch.New(watch.Config{Region: "iad", Store: st})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx) }()
	stopped := false
	n := &node{t: t, disk: disk, store: st, hub: hub, stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("hub: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}}
	t.Cleanup(n.stop)
	n.srv = &watch.Server{
		Hub:      hub,
		Reader:   &read.Reader{Region: "iad", Store: st, Index: hub},
		Coverage: func() *clusterv1.Coverage { return &clusterv1.Coverage{Region: "iad"} },
		Every:    time.Hour,
	}
	<-hub.Ready()
	return n
}

func mach(id, app string) table.Machine {
	return table.Machine{Worker: "w1", ID: fleet.MachineID(id), App: fleet.App(app), State: claim.Started, Epoch: 1, Addresses: []string{"10.0.0.1"}}
}

// write runs one transaction and waits until the hub has it.
func (n *node) write(fn func(store.Tx) error) {
	n.t.Helper()
	if _, err := n.store.Update(n.t.Context(), fn); err != nil {
		n.t.Fatal(err)
	}
	n.settle()
}

func (n *node) put(ms ...table.Machine) {
	n.t.Helper()
	n.write(func(tx store.Tx) error {
		for _, m := range ms {
			if err := tx.Put(table.Machines, m.Row()); err != nil {
				return err
			}
		}
		return nil
	})
}

func (n *node) settle() {
	n.t.Helper()
	snap, err := n.store.Snapshot(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	defer snap.Close()
	if err := n.hub.WaitPosition(n.t.Context(), snap.Position()); err != nil {
		n.t.Fatal(err)
	}
}

// remote applies one changeset of another node.
func (n *node) remote(w record.Writer, v record.Version, recs ...record.Record) {
	n.t.Helper()
	c := record.Changeset{Writer: w, Version: v, Wall: time.Now().UnixMilli(), Records: recs}
	out, err := n.store.Apply(n.t.Context(), []record.Delivery{record.Pushed(c)})
	if err != nil || out[0].Status != store.Applied {
		n.t.Fatalf("apply: %+v, %v", out, err)
	}
	n.settle()
}

func machineRecord(t *testing.T, m table.Machine) record.Record {
	t.Helper()
	r, err := table.All()[0].Record(m.Row(), "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// client is one watch stream. Its sends wait for the test to read.
type client struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	in     chan *regionv1.WatchRequest
	out    chan *regionv1.WatchResponse
	done   chan error
}

func (c *client) Context() context.Context { return c.ctx }

func (c *client) Send(r *regionv1.WatchResponse) error {
	select {
	case c.out <- r:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

func (c *client) Recv() (*regionv1.WatchRequest, error) {
	select {
	case r, ok := <-c.in:
		if !ok {
			return nil, io.EOF
		}
		return r, nil
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

func (n *node) watch(interests ...*regionv1.WatchInterest) *client {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &client{t: n.t, ctx: ctx, cancel: cancel, in: make(chan *regionv1.WatchRequest), out: make(chan *regionv1.WatchResponse), done: make(chan error, 1)}
	go func() { c.done <- n.srv.Serve(c) }()
	n.t.Cleanup(c.end)
	c.say(&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Hello{Hello: &regionv1.WatchHello{Client: "test"}}})
	if ev := c.next(); ev.GetStatus() == nil {
		n.t.Fatalf("first event = %v, want status", ev)
	}
	for _, i := range interests {
		c.add(i)
	}
	return c
}

func (c *client) end() {
	c.cancel()
	if c.done != nil {
		<-c.done
		c.done = nil
	}
}

func (c *client) say(r *regionv1.WatchRequest) {
	c.t.Helper()
	select {
	case c.in <- r:
	case <-time.After(10 * time.Second):
		c.t.Fatal("the session takes no request")
	}
}

func (c *client) add(i *regionv1.WatchInterest) {
	c.t.Helper()
	c.say(&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Add{Add: i}})
}

func (c *client) next() *regionv1.WatchResponse {
	c.t.Helper()
	select {
	case ev := <-c.out:
		return ev
	case err := <-c.done:
		c.done <- err
		c.t.Fatalf("the session ended: %v", err)
	case <-time.After(10 * time.Second):
		c.t.Fatal("no event within 10s")
	}
	return nil
}

// until collects events, in words, up to the first for which stop is true, and
// the last position seen.
func (c *client) until(stop func(*regionv1.WatchResponse) bool) (words []string, position []byte) {
	c.t.Helper()
	for {
		ev := c.next()
		words = append(words, say(ev))
		if ev.GetPosition() != nil {
			position = ev.GetPosition()
		}
		if stop(ev) {
			return words, position
		}
	}
}

func synced(ev *regionv1.WatchResponse) bool { return ev.GetSynced() != nil }

func says(word string) func(*regionv1.WatchResponse) bool {
	return func(ev *regionv1.WatchResponse) bool { return say(ev) == word }
}

// say gives an event in a word or two.
func say(ev *regionv1.WatchResponse) string {
	switch e := ev.GetEvent().(type) {
	case *regionv1.WatchResponse_Snapshot:
		return "snapshot"
	case *regionv1.WatchResponse_Synced:
		return "synced"
	case *regionv1.WatchResponse_Machine:
		s := "+" + e.Machine.GetId()
		if e.Machine.GetSuspect() {
			s += " suspect"
		}
		if e.Machine.GetContested() {
			s += " contested"
		}
		if e.Machine.GetUnconfirmed() {
			s += " unconfirmed"
		}
		if !e.Machine.GetRoutable() {
			s += " unroutable"
		}
		return s
	case *regionv1.WatchResponse_Gone:
		if e.Gone.GetEnded() {
			return "-" + e.Gone.GetId()
		}
		return "-" + e.Gone.GetId() + " elsewhere"
	case *regionv1.WatchResponse_Row:
		return fmt.Sprintf("row %v", read.FromProto(e.Row.GetRow().GetValues()[len(e.Row.GetRow().GetValues())-1]))
	case *regionv1.WatchResponse_Deleted:
		return "deleted"
	case *regionv1.WatchResponse_Resync:
		return "resync"
	case *regionv1.WatchResponse_Refused:
		return "refused: " + e.Refused.GetReason()
	}
	return fmt.Sprintf("%T", ev.GetEvent())
}

func app(id uint64, name string, position ...byte) *regionv1.WatchInterest {
	return &regionv1.WatchInterest{Id: id, What: &regionv1.WatchInterest_App{App: name}, Position: position}
}
