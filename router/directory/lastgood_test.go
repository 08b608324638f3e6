package directory_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/router/directory"
)

func full(name fleet.Region) *directory.Region {
	r := directory.NewRegion("test", name, at(0))
	g := gen
	r.Merge(directory.Entry{Region: name, Rank: "1", Generation: &g}, at(0))
	r.Merge(directory.Entry{Region: name, Rank: "2", Record: &presence.Region{
		Name: name, Locality: "eu", SchemaHash: 9, Gateways: []presence.Gateway{{Node: "w1", Address: "10.0.0.1:7000"}},
		Rank: presence.Rank{Generation: gen, Stamp: 5, Reporter: "w1"},
	}}, at(0))
	r.Merge(entry("web", 3, 1), at(0))
	r.Merge(entry("gone", 0, 2), at(0))
	return r
}

func file(regions ...*directory.Region) []byte {
	var sections []directory.Section
	for _, r := range regions {
		sections = append(sections, directory.Section{Region: r.Name(), Data: r.Section()})
	}
	return directory.AppendFile(nil, directory.File{Fleet: "test", Written: at(0).Wall, Heard: at(0).Wall}, sections)
}

func TestFileComesBackAsItWas(t *testing.T) {
	data := file(full("ams"), full("iad"))
	f, refused, err := directory.ReadFile(data, "test", at(time.Minute))
	if err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
	if diff := cmp.Diff(data, file(f.Regions...)); diff != "" {
		t.Error(diff)
	}
	r := f.Regions[1]
	r.Confirm(confirm(digestOf(r), at(time.Minute)), at(time.Minute))
	if !r.Standing("other", at(time.Minute+time.Second)).MayPrune() {
		t.Error("the digest of the rows was not restored")
	}
}

// digestOf is the digest of what full holds.
func digestOf(r *directory.Region) presence.Digest {
	h := presence.NewHasher("test", r.Name())
	return h.App("web").Add(h.Region(r.Record()))
}

func TestDamageIsRefusedByNameAndTheRestKept(t *testing.T) {
	data := file(full("ams"), full("iad"))
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 0x10
		f, refused, err := directory.ReadFile(flipped, "test", at(0))
		switch {
		case errors.Is(err, directory.ErrFile):
		case err != nil:
			t.Fatalf("byte %d: %v", i, err)
		case len(refused) != 1 || len(f.Regions) != 1:
			t.Fatalf("byte %d flipped: refused %v, kept %d", i, refused, len(f.Regions))
		}
		cut, refused, err := directory.ReadFile(data[:i], "test", at(0))
		if err == nil && len(refused) == 0 {
			t.Fatalf("cut at %d: taken whole, %d regions", i, len(cut.Regions))
		}
	}
	if _, _, err := directory.ReadFile(data, "other", at(0)); !errors.Is(err, directory.ErrFile) {
		t.Errorf("of another fleet: %v", err)
	}
}

func FuzzReadFile(f *testing.F) {
	f.Add(file(full("iad")))
	f.Add(file())
	f.Add([]byte("firebreak directory 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _, err := directory.ReadFile(data, "test", at(0))
		if err != nil {
			return
		}
		for _, r := range got.Regions {
			r.Standing("web", at(time.Second))
			if again := file(r); len(again) == 0 {
				t.Error("a region that was read cannot be written")
			}
		}
	})
}

// Past its checksum a section can still be of a hostile or a later writer.
func FuzzSection(f *testing.F) {
	f.Add(full("iad").Section())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		sealed := directory.AppendFile(nil, directory.File{Fleet: "test"}, []directory.Section{{Region: "iad", Data: data}})
		got, refused, err := directory.ReadFile(sealed, "test", at(0))
		if err != nil || len(got.Regions)+len(refused) != 1 {
			t.Fatalf("err %v, regions %d, refused %v", err, len(got.Regions), refused)
		}
	})
}
