package watch_test

import (
	"encoding/hex"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/store"
	"github.com/firebreak-dev/firebreak/region/watch"
)

var golden = watch.Position{
	Feed: store.Position{Node: "w1", Boot: 0x6543, Bits: 0x0123456789abcdef, Sequence: 42},
	Held: 0x1122, Suspects: 0x3344,
}

func TestPositionGoldenVector(t *testing.T) {
	const want = "01" + "027731" + "0000000000006543" + "0123456789abcdef" + "000000000000002a" + "0000000000001122" + "0000000000003344"
	if got := hex.EncodeToString(golden.Encode()); got != want {
		t.Errorf("encoded = %s, want %s", got, want)
	}
	if got, err := watch.DecodePosition(golden.Encode()); err != nil || got != golden {
		t.Errorf("decoded = %+v, %v", got, err)
	}
}

func FuzzPosition(f *testing.F) {
	f.Add(golden.Encode())
	f.Add([]byte{})
	f.Add([]byte{1, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := watch.DecodePosition(b)
		if err != nil {
			return
		}
		if again, err := watch.DecodePosition(p.Encode()); err != nil || again != p {
			t.Errorf("%+v reads back as %+v, %v", p, again, err)
		}
	})
}
