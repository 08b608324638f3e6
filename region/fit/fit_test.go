package fit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/region/fit"
)

func TestJudge(t *testing.T) {
	type answers = map[record.Node]fit.Answer
	caught, vouching := fit.Answer{Caught: true}, fit.Answer{Caught: true, Fit: true}
	four := []record.Node{"b", "c", "d", "e"}
	for _, tt := range []struct {
		name string
		r    fit.Round
		want bool
	}{
		{"alone without seeds", fit.Round{Seedless: true}, true},
		{"alone with seeds: whoever has the rows may not have been met", fit.Round{}, false},
		{"a majority that is fit", fit.Round{Known: four, Answers: answers{"b": vouching, "c": vouching}}, true},
		{"half is no majority", fit.Round{Known: []record.Node{"b", "c", "d"}, Answers: answers{"b": vouching}}, false},
		{"a majority that restarted with this node vouches for nothing", fit.Round{Known: four, Answers: answers{"b": caught, "c": caught, "d": caught}}, false},
		{"a peer that is fit and was not caught up with does not count", fit.Round{Known: four, Answers: answers{"b": vouching, "c": {Fit: true}}}, false},
		{"all known nodes, none fit", fit.Round{Known: four, Answers: answers{"b": caught, "c": caught, "d": caught, "e": caught}}, true},
		{"without seeds, still all known nodes", fit.Round{Known: []record.Node{"b"}, Seedless: true}, false},
		{"a withheld machine", fit.Round{Known: []record.Node{"b"}, Answers: answers{"b": vouching}, Withheld: 1}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := fit.Judge(tt.r)
			if got.Fit != tt.want || got.Fit == (got.Because != "") {
				t.Errorf("verdict = %+v, want fit %v, and a reason exactly if not", got, tt.want)
			}
		})
	}
}

func TestUnfitNamesWhoIsMissing(t *testing.T) {
	got := fit.Judge(fit.Round{Known: []record.Node{"g", "b", "c", "d", "e", "f"}})
	if want := "caught up with 0 of 6 other known nodes, 0 of them fit; missing: b, c, d, e, f and 1 more"; got.Because != want {
		t.Errorf("because = %q, want %q", got.Because, want)
	}
}

func TestKnownIsWhateverWasHeardOfAndNotEvicted(t *testing.T) {
	got := fit.Known("a",
		[]record.Writer{{Node: "a", Boot: 9}, {Node: "b", Boot: 1}, {Node: "gone", Boot: 5}, {Node: "back", Boot: 7}},
		[]record.Node{"c", "a", "gone"},
		[]fit.Peer{{Node: "d", Boot: 1}, {Node: "gone", Boot: 5}},
		map[record.Node]uint64{"gone": 5, "back": 5},
	)
	if diff := cmp.Diff([]record.Node{"b", "back", "c", "d"}, got); diff != "" {
		t.Errorf("known (-want +got):\n%s", diff)
	}
}
