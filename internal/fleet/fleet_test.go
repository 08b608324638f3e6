package fleet_test

import (
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

func TestNamesEndAtTheirLimitAndAlphabet(t *testing.T) {
	for _, k := range []struct {
		kind  string
		check func(string) error
		max   int
		also  string // a good name with what only this kind allows
	}{
		{"fleet", fleet.CheckFleet, 32, "a-1"},
		{"locality", fleet.CheckLocality, 32, "us-east-1"},
		{"region", func(s string) error { return fleet.Region(s).Check() }, 32, "iad-2"},
		{"node", func(s string) error { return fleet.Worker(s).Check() }, 63, "0-w"},
		{"app", func(s string) error { return fleet.App(s).Check() }, 63, "a_b-c"},
	} {
		for _, good := range []string{"a", "7", k.also, strings.Repeat("a", k.max)} {
			if err := k.check(good); err != nil {
				t.Errorf("%s %q is refused: %v", k.kind, good, err)
			}
		}
		for _, bad := range []string{"", "A", "-a", "a-", "_a", "a_", "a.b", "a b", "a/b", "ä", "a\n", "\xff", strings.Repeat("a", k.max+1)} {
			if err := k.check(bad); err == nil || !strings.HasPrefix(err.Error(), k.kind+" name") {
				t.Errorf("%s %q: %v, want a refusal that says what it is", k.kind, bad, err)
			}
		}
		if err := k.check("a_b"); (err == nil) != (k.kind == "app") {
			t.Errorf("%s a_b: %v", k.kind, err)
		}
	}
	for _, reserved := range []fleet.Region{"global", "router"} {
		if reserved.Check() == nil {
			t.Errorf("region %q is taken", reserved)
		}
	}
}

func TestMachineIDsAreShownAsTheyAre(t *testing.T) {
	for _, good := range []string{"m", "Ärger/1 #2", strings.Repeat("x", 128)} {
		if err := fleet.MachineID(good).Check(); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"": "empty", strings.Repeat("x", 129): "limit of 128", "a\xffb": "UTF-8",
		"a\x00b": "control", "a\nb": "control", "a\x7fb": "control", "a\u009b2Jb": "control",
	} {
		if err := fleet.MachineID(bad).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

func TestAddressesAreLiteralsThatCanBeServed(t *testing.T) {
	for in, want := range map[string]string{"10.0.0.1": "10.0.0.1", "FD00::1": "fd00::1", "::ffff:10.0.0.2": "10.0.0.2", "127.0.0.1": "127.0.0.1"} {
		if got, err := fleet.CheckAddress(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{
		"", "localhost", "db.example.com", "10.0.0", "010.0.0.1", "0x7f.1", "10.0.0.1:80", "[::1]", " 10.0.0.1", "10.0.0.0/24",
		"fe80::1%eth0", "0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255",
	} {
		if _, err := fleet.CheckAddress(bad); err == nil || !strings.Contains(err.Error(), `"`+bad+`"`) {
			t.Errorf("%q: %v, want a refusal that names it", bad, err)
		}
	}
}

func TestPortsAreOneTo65535(t *testing.T) {
	for port, ok := range map[int64]bool{-1: false, 0: false, 1: true, 65535: true, 65536: false, 70000: false} {
		if err := fleet.CheckPort(port); (err == nil) != ok {
			t.Errorf("%d: %v", port, err)
		}
	}
}
