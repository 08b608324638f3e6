package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/host"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

var place = truth.Place{Region: "iad", Worker: "iad-1"}

// run starts the host of place; it ends with the test.
func run(t *testing.T) *host.Host {
	t.Helper()
	h, err := host.Listen(t.Context(), place, &host.Addresses{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

type answer struct {
	Region, Worker, Machine, App, Refused string
	StoppedMs                             int64 `json:"stopped_ms"`
}

func ask(t *testing.T, url string, header map[string]string) (int, answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, a
}

func TestAHostAnswersOnlyForMachinesThatRunThere(t *testing.T) {
	h := run(t)
	web := h.Start("m1", "web")
	other := h.Start("m2", "api")
	ended := h.Start("m3", "web")
	h.Stop("m3")
	own := fmt.Sprintf("http://127.0.0.1:%d", h.Port())
	for _, c := range []struct {
		name, url, machine, app string
		status                  int
		app2                    string // that answers
	}{
		{"by header", "http://" + web.String() + "/x", "m1", "web", 200, "web"},
		{"by path", own + "/machines/m2/x", "", "", 200, "api"},
		{"without its app", "http://" + other.String() + "/", "m2", "", 200, "api"},
		{"at the address of another", "http://" + other.String() + "/", "m1", "web", host.StatusUnknown, ""},
		{"never there", own + "/machines/m9", "", "", host.StatusUnknown, ""},
		{"of no machine", own + "/", "", "", host.StatusUnknown, ""},
		{"stopped", "http://" + ended.String() + "/", "m3", "web", host.StatusStopped, "web"},
		{"of another app now", "http://" + web.String() + "/", "m1", "old", host.StatusStopped, "web"},
	} {
		header := map[string]string{}
		if c.machine != "" {
			header[host.MachineHeader] = c.machine
		}
		if c.app != "" {
			header[host.AppHeader] = c.app
		}
		status, a := ask(t, c.url, header)
		if status != c.status || a.App != c.app2 || (a.Refused == "") != (status == 200) || a.Region != "iad" || a.Worker != "iad-1" {
			t.Errorf("%s: status %d, %+v", c.name, status, a)
		}
	}
}

func TestARefusalSaysSinceWhenAndAMachineThatComesBackKeepsItsAddress(t *testing.T) {
	h := run(t)
	before := time.Now()
	first := h.Start("m1", "web")
	h.Stop("m1")
	h.Stop("m1")   // a second time: as it was
	h.Stop("none") // no such machine
	h.Told("m1", "none")
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/machines/m1", h.Port()))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	var nanos int64
	if _, err := fmt.Sscan(resp.Header.Get(host.StoppedHeader), &nanos); err != nil {
		t.Fatal(err)
	}
	if at := time.Unix(0, nanos); at.Before(before) || at.After(time.Now()) {
		t.Errorf("it says that it stopped at %v", at)
	}
	if again := h.Start("m1", "web"); again != first {
		t.Errorf("first at %v, then at %v", first, again)
	}
	if status, _ := ask(t, "http://"+first.String(), map[string]string{host.MachineHeader: "m1"}); status != 200 {
		t.Errorf("after its return: %d", status)
	}
}

func TestOnlyAppsThatServeAreListed(t *testing.T) {
	hosts, err := host.Open(t.Context(), []truth.Place{place, {Region: "ams", Worker: "ams-1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer hosts.Close()
	h := hosts[place]
	long := time.Now()
	h.Start("m1", "web")
	h.Start("m2", "failing")
	h.SetFailing("m2", true)
	h.Start("m3", "over")
	h.Stop("m3")
	hosts[truth.Place{Region: "ams", Worker: "ams-1"}].Start("m1", "api")
	at := func(when time.Time) func(fleet.Region) time.Time {
		return func(fleet.Region) time.Time { return when }
	}
	shows := func(what string, since func(fleet.Region) time.Time, want map[fleet.App][]fleet.Region) {
		t.Helper()
		if diff := cmp.Diff(want, hosts.Serving(since), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	shows("no node knows", at(time.Now()), nil)
	for _, h := range hosts {
		h.ToldAll()
	}
	both := map[fleet.App][]fleet.Region{"api": {"ams"}, "web": {"iad"}}
	shows("now", at(time.Now()), both)
	shows("since before their start", at(long), nil)
	shows("by region", func(r fleet.Region) time.Time {
		if r == "ams" {
			return long
		}
		return time.Now()
	}, map[fleet.App][]fleet.Region{"web": {"iad"}})
	h.SetFailing("m2", false)
	shows("recovered, and its node does not know", at(time.Now()), both)
	h.Told("m2")
	both["failing"] = []fleet.Region{"iad"}
	shows("recovered", at(time.Now()), both)
}

func TestAddressesAreDistinctAndOfTheMachinesNet(t *testing.T) {
	var a host.Addresses
	seen := map[netip.Addr]bool{}
	for range 300_000 {
		addr := a.Next()
		if seen[addr] || !host.Net.Contains(addr) || strings.HasSuffix(addr.String(), "127.64.0.0") {
			t.Fatalf("%v comes again or is outside", addr)
		}
		seen[addr] = true
	}
}
