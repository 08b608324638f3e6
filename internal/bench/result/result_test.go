package result_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/bench/result"
)

func TestVerdicts(t *testing.T) {
	m := func(v, lo, hi float64, quiet int, target result.Target) result.Measure {
		return result.Measure{Value: v, Low: lo, High: hi, Blocks: 8, Quiet: quiet, Target: target}
	}
	for _, c := range []struct {
		m    result.Measure
		want string
	}{
		{m(1.2, 1.15, 1.23, 8, result.AtMost(1.3)), "met"},
		{m(1.3, 1.3, 1.3, 8, result.AtMost(1.3)), "met"},
		{m(1.25, 1.24, 1.26, 8, result.AtMost(1.3)), "too noisy"}, // another run may say 1.31
		{m(1.34, 1.32, 1.36, 8, result.AtMost(1.3)), "too noisy"},
		{m(5.2, 5.1, 5.3, 8, result.AtLeast(5)), "too noisy"},
		{m(1.69, 1.6, 1.7, 8, result.AtMost(1.3)), "short by 30 %"},
		{m(4.55, 4.5, 4.6, 8, result.AtMost(1.3)), "short by 3.5 ×"},
		{m(1.29, 1.2, 1.4, 8, result.AtMost(1.3)), "too noisy"},
		{m(1.2, 1.15, 1.25, 4, result.AtMost(1.3)), "too noisy"},
		{m(math.NaN(), 0, 0, 8, result.AtMost(1.3)), "too noisy"},
		{m(6, 5.5, 7, 8, result.AtLeast(5)), "met"},
		{m(4, 3.5, 4.5, 8, result.AtLeast(5)), "short by 20 %"},
		{m(2, 1.9, 2.1, 8, result.AtLeast(5)), "short by 2.5 ×"},
		{m(2, 1.9, 2.1, 8, result.Target{}), "no target"},
		{result.Measure{Value: 64, Low: 64, High: 64, Target: result.AtMost(64)}, "met"},
		{result.Measure{Target: result.AtMost(0)}, "met"},
		{result.Measure{Value: 3, Low: 3, High: 3, Target: result.AtMost(0)}, "short by 3"},
		{result.Measure{Value: 65, Low: 65, High: 65, Target: result.AtMost(64)}, "short by 2 %"},
	} {
		if got := c.m.Judge(); got != c.want {
			t.Errorf("%v (%v…%v) %v, %d quiet: %q, want %q", c.m.Value, c.m.Low, c.m.High, c.m.Target, c.m.Quiet, got, c.want)
		}
	}
}

func TestABenchIsAsGoodAsItsWorstMeasure(t *testing.T) {
	count := func(v, limit float64) result.Measure {
		return result.Measure{Value: v, Low: v, High: v, Target: result.AtMost(limit)}
	}
	for _, c := range []struct {
		list []result.Measure
		want string
	}{
		{nil, "no target"},
		{[]result.Measure{count(1, 2), {Value: 7}}, "met"},
		{[]result.Measure{count(1, 2), {Value: 7, Blocks: 8}}, "too noisy"},
		{[]result.Measure{count(11, 10), count(15, 10), count(1, 2), {Blocks: 8}}, "short by 50 %"},
		{[]result.Measure{count(19, 10), count(25, 10)}, "short by 2.5 ×"},
	} {
		b := result.Bench{Measures: c.list}
		if b.Conclude(); b.Verdict != c.want {
			t.Errorf("%q, want %q", b.Verdict, c.want)
		}
	}
}

func sample() result.File {
	f := result.File{
		Environment: result.Environment{At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Commit: "abc1234", Seed: 7},
		Benches: []result.Bench{
			{Name: "B04", Title: "apply", Note: "1,000 rows", Measures: []result.Measure{{Name: "update", Unit: "×", Value: 1.5, Low: 1.4, High: 1.6, Blocks: 8, Quiet: 8, Target: result.AtMost(1.3), Details: map[string]float64{"x": 1}}}},
			{Name: "B14", Title: "schema", Verdict: result.NoFeature, Note: "tables cannot be changed yet"},
		},
	}
	f.Benches[0].Conclude()
	return f
}

func TestWhatIsSavedIsLoaded(t *testing.T) {
	dir := t.TempDir()
	want := sample()
	if err := want.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := result.Load(filepath.Join(dir, result.Latest))
	if err != nil {
		t.Fatal(err)
	}
	want.Format = result.Format
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := result.Load(filepath.Join(dir, result.History, "20260102T030405Z-abc1234.json")); err != nil {
		t.Error(err)
	}
}

func TestALaterRunOfOneBenchKeepsTheOthers(t *testing.T) {
	dir := t.TempDir()
	if err := sample().Save(dir); err != nil {
		t.Fatal(err)
	}
	one := sample()
	one.Environment.At = one.Environment.At.Add(time.Hour)
	one.Benches = one.Benches[:1]
	one.Benches[0].Verdict = result.Met
	if err := one.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := result.Load(filepath.Join(dir, result.Latest))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Benches) != 2 || got.Benches[0].Verdict != result.Met || got.Benches[1].Verdict != result.NoFeature {
		t.Errorf("%+v", got.Benches)
	}
	if files, _ := os.ReadDir(filepath.Join(dir, result.History)); len(files) != 2 {
		t.Errorf("%d files of history, want 2", len(files))
	}
}

func TestDamagedResultsAreNamedAndKept(t *testing.T) {
	good, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"cut":           good[:len(good)/2],
		"empty":         nil,
		"no JSON":       []byte("bench results\n"),
		"unknown key":   bytes.Replace(good, []byte(`"seed"`), []byte(`"sead"`), 1),
		"other format":  bytes.Replace(good, []byte(`"format": 1`), []byte(`"format": 9`), 1),
		"two documents": append(bytes.Clone(good), good...),
		"order":         bytes.Replace(good, []byte(`"B14"`), []byte(`"B01"`), 1),
		"no verdict":    bytes.Replace(good, []byte(`"no feature yet"`), []byte(`""`), 1),
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, result.Latest)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"load": second(result.Load(path)), "save": sample().Save(dir)} {
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		if kept, _ := os.ReadFile(path); !bytes.Equal(kept, data) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := result.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func second(_ result.File, err error) error { return err }

func FuzzParse(f *testing.F) {
	good, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := result.Parse(data); err == nil {
			if _, err := r.Encode(); err != nil {
				t.Errorf("read and cannot be written: %v", err)
			}
			_ = r.Markdown()
		}
	})
}

func TestResultsWithoutARoomAreAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sample().Save(file); err == nil {
		t.Error("saved below a file")
	}
}

func TestDiffSaysWhatIsApart(t *testing.T) {
	before, now := sample(), sample()
	now.Benches[0].Measures[0].Value, now.Benches[0].Measures[0].Low, now.Benches[0].Measures[0].High = 1.2, 1.1, 1.22
	now.Benches[0].Conclude()
	now.Benches = now.Benches[:1]
	var b strings.Builder
	if err := result.Diff(&b, before, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-20.0 %", "apart", "short by 15 % → met", "not run"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestTheTableSaysWhatIsOfAnotherCommit(t *testing.T) {
	f := sample()
	f.Benches[0].Commit = f.Environment.Commit
	if strings.Contains(f.Markdown(), "measured at") {
		t.Errorf("of one commit:\n%s", f.Markdown())
	}
	f.Benches[0].Commit = "0ld"
	if !strings.Contains(f.Markdown(), "measured at commit 0ld") {
		t.Errorf("of two commits:\n%s", f.Markdown())
	}
}

func TestTheTableShowsTargetAndVerdict(t *testing.T) {
	var b strings.Builder
	if err := sample().Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"B04 apply", "1.50 ×", "1.40…1.60", "≤ 1.3", "8 of 8", "short by 15 %", "no feature yet", "tables cannot be changed yet", "B04: 1,000 rows."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
