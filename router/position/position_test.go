package position_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/router/position"
)

func of(region, app, at string) position.Position {
	return position.Position{Region: fleet.Region(region), App: fleet.App(app), Gateway: position.Tag("iad-1"), At: at}
}

// The bytes of docs/reference/wire-router.md. They change only with the version.
func TestBytesAreTheDocumentedOnes(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/wire-router.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what string
		p    position.Position
		hex  string
	}{
		{"a position", of("iad", "web", "\x01\x02\x03"), goldenPosition},
		{"the gateway bytes 00", of("a", "b", "\x00"), goldenShort},
	} {
		got := tc.p.Append(nil)
		if hex.EncodeToString(got) != tc.hex {
			t.Errorf("%s: %x, want %s", tc.what, got, tc.hex)
		}
		if !strings.Contains(string(page), "`"+tc.hex+"`") {
			t.Errorf("docs/reference/wire-router.md lacks %s: %s", tc.what, tc.hex)
		}
		if back, bad := position.All(got); bad != 0 || cmp.Diff([]position.Position{tc.p}, back) != "" {
			t.Errorf("%s: read as %v, %d bad", tc.what, back, bad)
		}
	}
}

func TestTheLastOfEachAppAndRegionCounts(t *testing.T) {
	var b []byte
	for _, p := range []position.Position{of("iad", "web", "1"), of("ams", "web", "2"), of("iad", "db", "3"), of("iad", "web", "4")} {
		b = p.Append(b)
	}
	got, bad := position.All(b)
	want := []position.Position{of("iad", "web", "4"), of("ams", "web", "2"), of("iad", "db", "3")}
	if diff := cmp.Diff(want, got); diff != "" || bad != 0 {
		t.Error(diff, bad)
	}
}

func TestAFlippedBitCostsAtMostThatPositionAndWhatFollows(t *testing.T) {
	first, second := of("iad", "web", "1"), of("ams", "web", "2")
	good := second.Append(first.Append(nil))
	for i := range len(good) * 8 {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		got, bad := position.All(b)
		if bad == 0 {
			t.Fatalf("bit %d: nothing was refused", i)
		}
		for _, p := range got {
			if p != first && p != second {
				t.Fatalf("bit %d: read as %v", i, p)
			}
		}
	}
	for i := range good {
		if got, _ := position.All(good[:i]); len(got) == 2 {
			t.Fatalf("cut at %d: read whole", i)
		}
	}
}

func TestWhatIsNotOfThisVersionIsSkipped(t *testing.T) {
	b := of("iad", "web", "1").Append(nil)
	b[0] = 2
	got, bad := position.All(of("ams", "web", "2").Append(b))
	if diff := cmp.Diff([]position.Position{of("ams", "web", "2")}, got); diff != "" || bad != 1 {
		t.Error(diff, bad)
	}
}

func TestAPositionThatIsTooLongIsNone(t *testing.T) {
	p := of("iad", "web", strings.Repeat("x", position.MaxAt+1))
	got, bad := position.All(p.Append(nil))
	if p.Usable() || bad != 0 || len(got) != 0 {
		t.Errorf("%v, %d bad", got, bad)
	}
}

func FuzzAll(f *testing.F) {
	f.Add(of("iad", "web", "1").Append(of("ams", "db", "2").Append(nil)))
	f.Add([]byte{1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := position.All(b)
		var again []byte
		for _, p := range got {
			again = p.Append(again)
		}
		if back, bad := position.All(again); bad != 0 || cmp.Diff(got, back) != "" {
			t.Errorf("%v came back as %v, %d bad", got, back, bad)
		}
	})
}

const (
	goldenPosition = "01130369616403776562c10f123969c693fb0102039bdc8af5"
	goldenShort    = "010d01610162c10f123969c693fb006d64c75f"
)
