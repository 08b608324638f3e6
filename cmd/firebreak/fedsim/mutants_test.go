package fedsim

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var mutantsFlag = flag.Bool("mutants", false, "build every mutant and run it until it is caught")

const root = "../../.."

// mutant breaks one rule of the code that ships, by other words where it is
// kept: in two places where it is kept twice. The simulator must catch it
// within so many seeds.
type mutant struct {
	name   string
	within int
	edits  []edit
}

type edit struct {
	file   string
	is     string // must be there once
	breaks string
}

func mutants() []mutant {
	const (
		push  = "internal/replica/push.go"
		sync  = "internal/replica/sync.go"
		peer  = "internal/replica/peer.go"
		mem   = "internal/store/memory/memory.go"
		step  = "internal/store/memory/step.go"
		state = "internal/store/memory/state.go"
		read  = "internal/store/memory/read.go"
		fetch = "internal/replica/fetch.go"
		plan  = "internal/replica/runner/listing.go"
		work  = "internal/replica/runner/work.go"
	)
	one := func(name string, within int, file, is, breaks string) mutant {
		return mutant{name, within, []edit{{file, is, breaks}}}
	}
	return []mutant{
		one("dedupe before durable apply", 20, push, "e.pending = e.pending.With(d.rang)", "e.Received = e.Received.With(d.rang)"),
		one("a writer is continued after a restart", 20, mem, "	boot = max(boot, uint64(max(0, s.cfg.Now().Unix()))",
			"	if ws := s.st.ownWriters(s.cfg.Node); len(ws) > 0 && boot == 0 {\n		return ws[len(ws)-1]\n	}\n	boot = max(boot, uint64(max(0, s.cfg.Now().Unix()))"),
		one("rows found on disk are published again", 400, mem, "s.disk.ownedSince(s.since)", "s.disk.ownedSince(0)"),
		one("no higher boot for a clock that went back", 400, push, "if boot < c.self.Boot || c.renewing {", "if true {"),
		one("acceptance looks at the order of arrival", 20, step, "if ok && !record.Wins(h.rec.Rank(h.at), old.top.rec.Rank(old.top.at)) {", "if false {"),
		one("a foreign-owned record competes for the key", 20, step, "if h.rec.ForeignOwner(h.at.Writer) {", "if false {"),
		{"empty inferred from absence", 200, []edit{
			{fetch, "missing := have.Minus(theirs.Received)", "missing := have.Minus(record.Received{Head: theirs.Received.Head})"},
			{read, "range ws.Received.Ranges()", "range (record.Received{Head: ws.Received.Head}).Ranges()"},
		}},
		{"nothing left, said beyond the head that is known", 200, []edit{
			{plan, "g.To = min(g.To, s.Received.Head)", "g.To = min(g.To, s.Received.Head+1)"},
			{read, "min(have.To, r.To)", "min(have.To+1, r.To)"},
		}},
		one("a gap closed without its rows", 20, state, "ws.Received.With(e.delivery.Range)", "ws.Received.With(record.Range{From: 1, To: e.delivery.Range.To})"),
		one("a version is taken twice", 20, mem, "if len(s.st.missing(d.Writer, d.Range)) == 0 {", "if false {"),
		one("acknowledged before it is durable", 100, mem, "quiet: quiet, wall: s.cfg.Now()})\n	s.disk.Sync()", "quiet: quiet, wall: s.cfg.Now()})"),
		one("withheld records left out of fingerprints", 50, step, "	s.count(h, true)\n	s.place(p, h, now)", "	if h.reason == \"\" {\n		s.count(h, true)\n	}\n	s.place(p, h, now)"),
		one("withheld records count as not received", 50, mem, "Status: store.Applied, Withheld: done.withheld", "Status: store.Status(1 + 2*min(1, done.withheld)), Withheld: done.withheld"),
		one("a stamp ahead is withheld for ever", 200, state, "if s.top.reason == store.ReasonClock && !ahead(s.top.rec, now) {\n			return true", "if s.top.reason == \"never\" {\n			return true"),
		one("what shows under a withheld record depends on the order of arrival", 2000, step, "		s.below(p, old, h, now)\n", ""),
		one("roots depend on membership", 50, peer, "c.peers = slices.Delete(c.peers, i, i+1)", "c.peers = slices.Delete(c.peers, i, i+1)\n		c.book.root = minus(c.book.root, c.book.digest(n))"),
		one("leaves that differ are never looked into", 20, sync, "p.session = session{phase: differs, due: c.now + differFor, leaves: differ}", "_ = differ"),
		one("what a core knows of boots does not outlast it", 100, work, "return replica.Reloaded{States: States(ws), Boots: Boots(ns)}, nil", "return replica.Reloaded{States: States(ws), Boots: Boots(ns)[:0]}, nil"),
		one("a listing overtakes what is on its way", 1200, "internal/replica/listing.go", "s.mode() == CatchUp && c.leftOut(p)", "false"),
		one("a survey leaves out what waits for the store", 1200, "internal/replica/closing.go", "c.reply(r.b, p.node)", "c.reply(r.b, \"\")"),
		one("no rejoin", 100, "cmd/firebreak/fedsim/process.go", "case c == nil && passes && o.up():", "case c == nil && passes && o.up() && p.apart[o.name] == 0:"),
	}
}

// The table must keep step with the code it breaks.
func TestMutantsApply(t *testing.T) {
	for _, m := range mutants() {
		for _, e := range m.edits {
			data, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(data), e.is); n != 1 {
				t.Errorf("%s: %s has the words it replaces %d times, want once", m.name, e.file, n)
			}
		}
	}
}

var failedSeed = regexp.MustCompile(`\nseed (\d+);`)

func TestMutantsAreCaught(t *testing.T) {
	if !*mutantsFlag {
		t.Skip("builds a binary per mutant: make mutants")
	}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			out, err := m.run(t)
			if err == nil {
				t.Fatalf("not caught within %d seeds: %s", m.within, out)
			}
			seed := failedSeed.FindStringSubmatch(out)
			if seed == nil {
				t.Fatalf("did not run: %v\n%s", err, out)
			}
			n, _ := strconv.Atoi(seed[1])
			first, _, _ := strings.Cut(out, "\n")
			t.Logf("caught by seed %d of %d: %.120s", n, m.within, first)
		})
	}
}

// run builds the simulator with the mutant in it, and runs it.
func (m mutant) run(t *testing.T) (string, error) {
	dir := t.TempDir()
	replace := map[string]string{}
	for i, e := range m.edits {
		path, err := filepath.Abs(filepath.Join(root, e.file))
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		replace[path] = filepath.Join(dir, strconv.Itoa(i)+".go")
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(data), e.is, e.breaks, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	over := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(over, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "seeds")
	build := exec.Command("go", "build", "-overlay", over, "-o", binary, "./cmd/firebreak/fedsim/seeds")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(binary, "-seeds", strconv.Itoa(m.within), "-once", "-whole").CombinedOutput()
	return string(out), err
}
