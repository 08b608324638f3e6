package watch_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/internal/store/memory"
	clusterv1 "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionv1 "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	"github.com/firebreak-dev/firebreak/region/roster"
	"github.com/firebreak-dev/firebreak/region/table"
	"github.com/firebreak-dev/firebreak/region/watch"
)

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestAppWatchIsASnapshotAndThenChanges(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"), mach("m2", "web"), mach("x", "api"))
	c := n.watch(app(1, "web"))
	got, _ := c.until(synced)
	want(t, got, "snapshot", "+m1", "+m2", "synced")

	n.put(mach("y", "api")) // nobody here watches api
	m := mach("m1", "web")
	m.State = claim.Stopping
	n.put(m)
	got, _ = c.until(says("+m1 unroutable"))
	want(t, got, "+m1 unroutable")

	m.State, m.Why = claim.Ended, claim.Withdrawn
	n.put(m)
	got, _ = c.until(says("-m1"))
	want(t, got, "-m1")

	n.put(mach("m2", "api")) // another app's machine now
	got, _ = c.until(says("-m2 elsewhere"))
	want(t, got, "-m2 elsewhere")
}

func TestHealthAndDrainingAreToldAgain(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"))
	c := n.watch(app(1, "web"))
	c.until(synced)
	n.write(func(tx store.Tx) error {
		return tx.Put(table.Health, table.HealthRow{Worker: "w1", ID: "m1", Status: claim.Failing, Since: 1}.Row())
	})
	got, _ := c.until(says("+m1 unroutable"))
	want(t, got, "+m1 unroutable")
	n.write(func(tx store.Tx) error { return tx.Delete(table.Health, record.Of("w1"), record.Of("m1")) })
	got, _ = c.until(says("+m1"))
	want(t, got, "+m1")
	n.write(func(tx store.Tx) error {
		return tx.Put(table.Workers, table.Worker{Worker: "w1", State: table.WorkerDraining}.Row())
	})
	got, _ = c.until(says("+m1 unroutable"))
	want(t, got, "+m1 unroutable")
}

func TestSuspectContestedAndUnconfirmedAreToldAgain(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"))
	c := n.watch(app(1, "web"))
	c.until(synced)
	n.hub.SetSuspects(map[fleet.Worker]bool{"w1": true})
	got, _ := c.until(says("+m1 suspect"))
	want(t, got, "+m1 suspect")
	n.hub.SetSuspects(nil)
	c.until(says("+m1"))
	n.hub.SetUnconfirmed(map[roster.Key]bool{{Worker: "w1", ID: "m1"}: true})
	got, _ = c.until(says("+m1 unconfirmed"))
	want(t, got, "+m1 unconfirmed")
	n.hub.SetUnconfirmed(nil)
	c.until(says("+m1"))

	other := mach("m1", "web")
	other.Worker = "w2"
	n.remote(record.Writer{Node: "w2", Boot: 1, Bits: 2}, 1, machineRecord(t, other))
	got, _ = c.until(says("+m1 contested"))
	second, _ := c.until(says("+m1 contested"))
	want(t, append(got, second...), "+m1 contested", "+m1 contested")
}

func TestTableAndKeyWatch(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.write(func(tx store.Tx) error {
		return tx.Put(table.Probe, store.Row{record.Of("w1"), record.Of(1)})
	})
	c := n.watch(
		&regionv1.WatchInterest{Id: 1, What: &regionv1.WatchInterest_Table{Table: table.Probe}},
		&regionv1.WatchInterest{Id: 2, What: &regionv1.WatchInterest_Key{Key: &regionv1.WatchKey{
			Table: table.Probe, Key: []*clusterv1.Value{{Kind: &clusterv1.Value_Text{Text: []byte("w9")}}}}}},
	)
	got, _ := c.until(synced)
	second, _ := c.until(synced)
	want(t, append(got, second...), "snapshot", "row 1", "synced", "snapshot", "deleted", "synced")
	n.write(func(tx store.Tx) error {
		return tx.Put(table.Probe, store.Row{record.Of("w1"), record.Of(2)})
	})
	ev := c.next()
	if say(ev) != "row 2" || ev.GetInterest() != 1 {
		t.Errorf("event = %v of interest %d, want row 2 of the table's", say(ev), ev.GetInterest())
	}
	n.write(func(tx store.Tx) error { return tx.Delete(table.Probe, record.Of("w1")) })
	if ev := c.next(); say(ev) != "deleted" {
		t.Errorf("event = %v, want deleted", say(ev))
	}
}

func TestRefusedInterestsSayWhyAndHarmNoOther(t *testing.T) {
	n := start(t, &memory.Disk{})
	c := n.watch(app(1, "web"))
	c.until(synced)
	key := func(cols ...*clusterv1.Value) *regionv1.WatchInterest {
		return &regionv1.WatchInterest{Id: 2, What: &regionv1.WatchInterest_Key{Key: &regionv1.WatchKey{Table: table.Probe, Key: cols}}}
	}
	for _, tt := range []struct {
		i    *regionv1.WatchInterest
		want string
	}{
		{app(0, "web"), "another id"},
		{app(1, "web"), "already"},
		{app(2, ""), "empty"},
		{app(2, "No"), "lower-case"},
		{&regionv1.WatchInterest{Id: 2}, "an app, a table or a key"},
		{&regionv1.WatchInterest{Id: 2, What: &regionv1.WatchInterest_Table{Table: "sqlite_master"}}, "no replicated table"},
		{key(), "no column"},
		{key(&clusterv1.Value{}, &clusterv1.Value{}), "has 1 columns"},
		{key(&clusterv1.Value{}), "NULL"},
	} {
		c.add(tt.i)
		if ev := c.next(); !strings.HasPrefix(say(ev), "refused: ") || !strings.Contains(say(ev), tt.want) {
			t.Errorf("%v: %s, want a refusal that says %q", tt.i, say(ev), tt.want)
		}
	}
	n.put(mach("m1", "web"))
	got, _ := c.until(says("+m1"))
	want(t, got, "+m1")
}

func TestStreamThatDoesNotSayWhoItIsIsRefused(t *testing.T) {
	n := start(t, &memory.Disk{})
	c := &client{t: t, ctx: t.Context(), in: make(chan *regionv1.WatchRequest, 1)}
	c.in <- &regionv1.WatchRequest{Part: &regionv1.WatchRequest_Add{Add: app(1, "web")}}
	if err := n.srv.Serve(c); !errors.Is(err, watch.ErrHello) {
		t.Errorf("Serve = %v, want ErrHello", err)
	}
}

func TestRemovedInterestIsToldNothing(t *testing.T) {
	n := start(t, &memory.Disk{})
	c := n.watch(app(1, "web"), app(2, "api"))
	c.until(synced)
	c.until(synced)
	c.say(&regionv1.WatchRequest{Part: &regionv1.WatchRequest_Remove{Remove: 1}})
	c.add(app(3, "third")) // once this is answered the removal is done
	c.until(synced)
	n.put(mach("m1", "web"), mach("m2", "api"))
	got, _ := c.until(says("+m2"))
	want(t, got, "+m2")
}

func TestResumeTellsOnlyWhatChanged(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			n := start(t, &memory.Disk{})
			n.put(mach("m1", "web"), mach("m2", "web"))
			c := n.watch(app(1, "web"))
			_, position := c.until(synced)
			c.end()

			n.put(mach("m3", "web"), mach("x", "api"))
			m := mach("m1", "web")
			m.State = claim.Stopping
			n.put(m)
			if restart {
				n.stop()
				n = start(t, n.disk)
			}
			c = n.watch(app(1, "web", position...))
			got, position := c.until(synced)
			if !restart {
				want(t, got, "+m3", "+m1 unroutable", "synced")
				c.end()
				c = n.watch(app(1, "web", position...))
				got, _ = c.until(synced)
				want(t, got, "synced")
				return
			}
			// x is of another app, and the disk does not say of which app it was:
			// the client gets either the change alone or a whole snapshot.
			slices.Sort(got)
			want(t, got, "+m1 unroutable", "+m2", "+m3", "resync", "snapshot", "synced")
		})
	}
}

func TestResumeOverARestartNeedsNoSnapshotIfNothingElseChanged(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"), mach("m2", "web"))
	c := n.watch(app(1, "web"))
	_, position := c.until(synced)
	c.end()
	n.put(mach("m3", "web"))
	n.stop()
	n = start(t, n.disk)
	c = n.watch(app(1, "web", position...))
	got, _ := c.until(synced)
	want(t, got, "+m3", "synced")
}

func TestResumeTellsWhatIsGone(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"), mach("m2", "web"))
	c := n.watch(app(1, "web"))
	_, position := c.until(synced)
	c.end()
	n.write(func(tx store.Tx) error { return tx.Delete(table.Machines, record.Of("w1"), record.Of("m1")) })
	n.put(mach("m2", "api"))
	c = n.watch(app(1, "web", position...))
	got, _ := c.until(synced)
	want(t, got, "-m1", "-m2 elsewhere", "synced")
}

func TestResumeTellsWhoBecameSuspectMeanwhile(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"))
	c := n.watch(app(1, "web"))
	_, position := c.until(synced)
	c.end()
	n.hub.SetSuspects(map[fleet.Worker]bool{"w1": true})
	c = n.watch(app(1, "web", position...))
	got, _ := c.until(synced)
	want(t, got, "+m1 suspect", "synced")
}

func TestPositionOffTheLineIsAResync(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"))
	c := n.watch(app(1, "web"))
	_, position := c.until(synced)
	c.end()
	other := start(t, &memory.Disk{}) // the same name, another disk
	for i, p := range [][]byte{position, {1, 2, 3}, {9}} {
		c = other.watch(app(uint64(i)+1, "web", p...))
		got, _ := c.until(synced)
		want(t, got, "resync", "snapshot", "synced")
		c.end()
	}
}

// A client that does not read holds up nobody, costs a bounded queue, and is
// told the newest value of each key, once.
func TestSlowClientIsToldTheNewestValueOfEachKey(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"))
	slow := n.watch(app(1, "web"))
	slow.until(synced)
	for i := range 200 {
		m := mach("m1", "web")
		m.Image = fmt.Sprint(i)
		n.put(m)
	}
	seen := 0
	for {
		seen++
		if slow.next().GetMachine().GetImage() == "199" {
			break
		}
	}
	if seen > 5 {
		t.Errorf("%d events for one key of a slow client: want them told as one", seen)
	}
}

func TestSameAnswerIsNotToldTwice(t *testing.T) {
	n := start(t, &memory.Disk{})
	n.put(mach("m1", "web"))
	c := n.watch(app(1, "web"))
	c.until(synced)
	// A row of the same id in another app changes nothing for this one but
	// that it is contested; its second state changes nothing at all.
	w := record.Writer{Node: "w2", Boot: 1, Bits: 2}
	other := mach("m1", "api")
	other.Worker = "w2"
	n.remote(w, 1, machineRecord(t, other))
	c.until(says("+m1 contested"))
	other.Image = "new"
	n.remote(w, 2, machineRecord(t, other))
	n.put(mach("m2", "web"))
	got, _ := c.until(says("+m2"))
	want(t, got, "+m2")
}

func TestCountsAndEndsFollowTheFeed(t *testing.T) {
	n := start(t, &memory.Disk{})
	_, changed := n.hub.Counts()
	n.put(mach("m1", "web"), mach("m2", "web"))
	<-changed
	counts, changed := n.hub.Counts()
	if counts["web"] != 2 || n.hub.Claims() != 2 {
		t.Errorf("counts = %v, claims %d", counts, n.hub.Claims())
	}
	m := mach("m1", "web")
	m.State = claim.Ended
	n.put(m)
	<-changed
	if age := n.hub.NewestEnd("web"); age < 0 || age > 10e9 {
		t.Errorf("newest end of web = %v, want just now", age)
	}
}
