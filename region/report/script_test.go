package report_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/region/report"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the answers in testdata")

// TestScripts plays each script in testdata: lines that begin with ">" are what
// the core does; all others are what it is told.
//
//	at DURATION                       time passes to, ticking
//	counts APP=N …                    the region's counts
//	members [unfit] NODE …            candidates
//	up G | down G                     a session
//	own G [APP=CLASS@STAMP …] [confirmed=NODE,…]   all that a global node holds
//	shows G …                         a change of it
//	token G N
//	accepted G N
//	lost G APP STAMP | badnode G REASON | badrecord G APP REASON
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(data))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(data), got); diff != "" {
				t.Errorf("-script +core:\n%s", diff)
			}
		})
	}
}

const wallAtStart = 1_000_000

var generation = presence.Generation{Number: 1, Bits: 0xfeed}

type player struct {
	core *report.Core
	mono time.Duration
}

func (p *player) now() report.Instant {
	return report.Instant{Mono: p.mono, Wall: wallAtStart + p.mono.Milliseconds()}
}

func play(t *testing.T, script string) string {
	t.Helper()
	p := &player{core: report.New(report.Config{Fleet: "test", Region: "iad", Node: "n1", Boot: 1, Generation: generation, Globals: 2})}
	var out strings.Builder
	for lines := bufio.NewScanner(strings.NewReader(script)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word := strings.Fields(line)
		if word[0] == "at" {
			to, err := time.ParseDuration(word[1])
			if err != nil {
				t.Fatal(err)
			}
			for p.mono < to {
				p.mono += 250 * time.Millisecond
				p.core.Tick(p.now())
				p.ready(&out)
			}
			continue
		}
		p.core.Step(p.now(), input(t, word))
		p.ready(&out)
	}
	return out.String()
}

// ready prints what the core sends.
func (p *player) ready(out *strings.Builder) {
	for _, m := range p.core.Ready() {
		fmt.Fprintf(out, "> %v to %d:", p.mono, m.Global)
		switch {
		case m.Confirmation != nil:
			c := m.Confirmation
			fmt.Fprintf(out, " confirm token %d, digest of %s, %d offered", c.Token, digestName(c.Digest), c.Offered)
		case m.Region != nil:
			fmt.Fprintf(out, " region stamp %d", m.Region.Rank.Stamp)
		}
		for _, r := range m.Presence {
			fmt.Fprintf(out, " %s=%d@%d", r.App, r.Class, r.Rank.Stamp)
			if r.Class == 0 {
				fmt.Fprintf(out, " since %d", r.Since)
			}
		}
		fmt.Fprintln(out)
	}
}

// digestName names the subset of the apps in scripts that has this digest.
func digestName(d presence.Digest) string {
	h := presence.NewHasher("test", "iad")
	apps := []fleet.App{"a", "b", "c"}
	for set := range 1 << len(apps) {
		sum, name := h.Region(self()), ""
		for i, app := range apps {
			if set&(1<<i) != 0 {
				sum, name = sum.Add(h.App(app)), name+string(app)
			}
		}
		if sum == d {
			return "{" + name + "}"
		}
	}
	return d.String()
}

func self() presence.Region {
	return presence.Region{Name: "iad", Gateways: []presence.Gateway{{Node: "n1", Address: "n1:1"}}, Locality: "us", SchemaHash: 7}
}

func input(t *testing.T, word []string) report.Input {
	t.Helper()
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%v: %v", word, err)
		}
		return n
	}
	rest := word[1:]
	switch word[0] {
	case "counts":
		counts := report.Counts{}
		for _, w := range rest {
			app, n, _ := strings.Cut(w, "=")
			counts = append(counts, report.Count{App: fleet.App(app), N: number(n)})
		}
		return counts
	case "members":
		s := self()
		m := report.Members{Fit: true, Gateways: s.Gateways, Locality: s.Locality, SchemaHash: s.SchemaHash}
		for _, w := range rest {
			if w == "unfit" {
				m.Fit = false
				continue
			}
			m.Candidates = append(m.Candidates, fleet.Worker(w))
		}
		return m
	case "up", "down":
		return report.Connected{Global: number(rest[0]), Up: word[0] == "up"}
	case "own", "shows":
		return own(t, word, number)
	case "token":
		return report.Token{Global: number(rest[0]), Token: uint64(number(rest[1]))}
	case "accepted":
		return report.Accepted{Global: number(rest[0]), N: number(rest[1])}
	case "lost":
		app := rest[1]
		if app == "region" {
			app = ""
		}
		return report.Refused{Global: number(rest[0]), App: fleet.App(app), Code: report.Lost, Winning: uint64(number(rest[2]))}
	case "badnode":
		return report.Refused{Global: number(rest[0]), Code: report.BadNode, Reason: strings.Join(rest[1:], " ")}
	case "badrecord":
		return report.Refused{Global: number(rest[0]), App: fleet.App(rest[1]), Code: report.BadRecord, Reason: strings.Join(rest[2:], " ")}
	}
	t.Fatalf("unknown line %v", word)
	return nil
}

// own reads what a global node holds; it always holds the region's record.
func own(t *testing.T, word []string, number func(string) int) report.Own {
	t.Helper()
	in := report.Own{Global: number(word[1]), Full: word[0] == "own", Last: true}
	rec := self()
	rec.Rank = presence.Rank{Generation: generation, Stamp: 1, Reporter: "n1"}
	in.Region = &rec
	for _, w := range word[2:] {
		if list, ok := strings.CutPrefix(w, "confirmed="); ok {
			for _, n := range strings.Split(list, ",") {
				in.Confirmed = append(in.Confirmed, fleet.Worker(n))
			}
			continue
		}
		app, what, _ := strings.Cut(w, "=")
		class, stamp, _ := strings.Cut(what, "@")
		r := presence.Record{
			Region: "iad", App: fleet.App(app), Class: presence.Class(number(class)),
			Rank: presence.Rank{Generation: generation, Stamp: uint64(number(stamp)), Reporter: "n1"},
		}
		if r.Class == 0 {
			r.Since = int64(r.Rank.Stamp)
		}
		in.Presence = append(in.Presence, r)
	}
	return in
}
