package presence_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
)

func TestClassesPartitionTheCounts(t *testing.T) {
	for n, want := range map[int]presence.Class{-1: 0, 0: 0, 1: 1, 2: 2, 3: 2, 4: 3, 7: 3, 8: 4, 250_000: 18, math.MaxInt: presence.MaxClass} {
		if got := presence.ClassOf(n); got != want {
			t.Errorf("ClassOf(%d) = %d, want %d", n, got, want)
		}
	}
	next := 0
	for c := range presence.MaxClass + 1 {
		low, high := c.Bounds()
		if low != next {
			t.Errorf("class %d begins at %d, want %d", c, low, next)
		}
		if presence.ClassOf(low) != c || presence.ClassOf(high) != c {
			t.Errorf("the bounds %d and %d of class %d are of other classes", low, high, c)
		}
		next = high + 1
	}
}

func TestRanksOrderTotally(t *testing.T) {
	ranks := []presence.Rank{ // ascending
		{Generation: presence.Generation{Number: 1, Bits: 1 << 63}, Stamp: 9, Reporter: "b"}, // bits are signed in the directory
		{Generation: presence.Generation{Number: 1, Bits: 1}, Stamp: 9, Reporter: "b"},
		{Generation: presence.Generation{Number: 2, Bits: 0}, Stamp: 1, Reporter: "a"},
		{Generation: presence.Generation{Number: 2, Bits: 0}, Stamp: 2, Reporter: "a"},
		{Generation: presence.Generation{Number: 2, Bits: 0}, Stamp: 2, Reporter: "b"},
	}
	for i, a := range ranks {
		for j, b := range ranks {
			got := a.Compare(b)
			if got > 0 != (i > j) || got < 0 != (i < j) {
				t.Errorf("%v against %v: %d", a, b, got)
			}
		}
	}
}

var rank = presence.Rank{Generation: presence.Generation{Number: 1, Bits: 5}, Stamp: 100, Reporter: "iad-1"}

func TestOnlyWholeRecordsPass(t *testing.T) {
	good := presence.Record{Region: "iad", App: "web", Class: 1, Rank: rank}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*presence.Record){
		"dotted app":              func(r *presence.Record) { r.App = "a.b" },
		"no app":                  func(r *presence.Record) { r.App = "" },
		"reserved region":         func(r *presence.Record) { r.Region = "global" },
		"no reporter":             func(r *presence.Record) { r.Rank.Reporter = "" },
		"no stamp":                func(r *presence.Record) { r.Rank.Stamp = 0 },
		"maximum stamp":           func(r *presence.Record) { r.Rank.Stamp = math.MaxUint64 },
		"no generation":           func(r *presence.Record) { r.Rank.Generation.Number = 0 },
		"maximum generation":      func(r *presence.Record) { r.Rank.Generation.Number = math.MaxUint64 },
		"class beyond all":        func(r *presence.Record) { r.Class = presence.MaxClass + 1 },
		"present and withdrawn":   func(r *presence.Record) { r.Since = 1 },
		"withdrawn since never":   func(r *presence.Record) { r.Class = 0 },
		"withdrawn in its future": func(r *presence.Record) { r.Class, r.Since = 0, 101 },
	} {
		r := good
		change(&r)
		if r.Check() == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestGatewaysAreHostsAndPorts(t *testing.T) {
	for addr, want := range map[string]bool{
		"10.0.0.1:80": true, "[2001:db8::1]:65535": true, "gw.example.org:443": true,
		"": false, "10.0.0.1": false, ":80": false, "h:0": false, "h:70000": false, "[::1:80": false, "[fe80::1%eth0]:80": false,
		`h"x:80`: false, "h x:80": false, "h\x00:80": false, strings.Repeat("a", 99) + ":80": false,
	} {
		r := presence.Region{Name: "iad", Gateways: []presence.Gateway{{Node: "iad-1", Address: addr}}, Rank: rank}
		if got := r.Check() == nil; got != want {
			t.Errorf("address %q passes: %v", addr, got)
		}
	}
	five := presence.Region{Name: "iad", Rank: rank}
	for range 5 {
		five.Gateways = append(five.Gateways, presence.Gateway{Node: "iad-1", Address: "h:1"})
	}
	if five.Check() == nil {
		t.Error("five gateways pass")
	}
}

func TestDigestIsASumThatRegionsDoNotShare(t *testing.T) {
	h := presence.NewHasher("fleet", "iad")
	apps := []fleet.App{"web", "db", "cache", "a", "b"}
	var all presence.Digest
	for _, a := range apps {
		all = all.Add(h.App(a))
	}
	var shuffled presence.Digest
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(apps)) {
		shuffled = shuffled.Add(h.App(apps[i]))
	}
	if all != shuffled {
		t.Error("the order of apps changes the digest")
	}
	if all.Sub(h.App("web")).Add(h.App("web")) != all || all.Sub(h.App("web")) == all {
		t.Error("taking an app out and putting it in again is not the same")
	}
	if got, ok := presence.ParseDigest(all.Bytes()); !ok || got != all {
		t.Errorf("%v came back as %v, %v", all, got, ok)
	}
	if presence.NewHasher("fleet", "ams").App("web") == h.App("web") || presence.NewHasher("other", "iad").App("web") == h.App("web") {
		t.Error("regions or fleets share the hash of an app")
	}
	one := presence.Region{Name: "iad", Gateways: []presence.Gateway{{Node: "ab", Address: "c:1"}}, Rank: rank}
	two := presence.Region{Name: "iad", Gateways: []presence.Gateway{{Node: "a", Address: "bc:1"}}, Rank: rank}
	if h.Region(one) == h.Region(two) {
		t.Error("two regions of different gateways have one hash")
	}
	later := one
	later.Rank.Stamp++
	if h.Region(one) != h.Region(later) {
		t.Error("the stamp is in the digest")
	}
}

// The digest is on the wire: its bytes may never change by accident.
func TestDigestKeepsItsBytes(t *testing.T) {
	h := presence.NewHasher("fleet", "iad")
	r := presence.Region{Name: "iad", Gateways: []presence.Gateway{{Node: "iad-1", Address: "10.0.0.1:7001"}}, Locality: "us", SchemaHash: 7}
	got := []string{h.App("web").String(), h.Region(r).String(), h.App("web").Add(h.Region(r)).String()}
	if want := []string{"9097199c69cd5dc2789af815a24f91d0", "fb51ed63758789275b307d274b1f774b", "8be906ffdf54e6e9d3cb753ced6f091b"}; !slices.Equal(got, want) {
		t.Errorf("digests %q, want %q", got, want)
	}
}

func TestRendezvousMovesNobodyElse(t *testing.T) {
	nodes := []fleet.Worker{"n1", "n2", "n3", "n4", "n5"}
	order := presence.Rendezvous("iad", nodes)
	slices.Reverse(nodes)
	if got := presence.Rendezvous("iad", append(nodes, "n3")); !slices.Equal(got, order) {
		t.Errorf("the order in which nodes are listed matters: %v, %v", got, order)
	}
	for i := range order {
		without := slices.Delete(slices.Clone(order), i, i+1)
		if got := presence.Rendezvous("iad", without); !slices.Equal(got, without) {
			t.Errorf("without %s the others moved: %v, %v", order[i], got, without)
		}
	}
}
