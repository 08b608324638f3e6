package replica

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/internal/record"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected output of the scripts in testdata")

// Each script is a list of commands to one core, a, and what the core wants
// done after each, below "----" up to an empty line.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out := runScript(t, string(in))
			if *rewrite {
				if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(in), out); diff != "" {
				t.Errorf("(-script +run):\n%s", diff)
			}
		})
	}
}

func runScript(t *testing.T, in string) string {
	s := newScript(t)
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(in), "\n\n") {
		commands, _, found := strings.Cut(block, "\n----")
		out.WriteString(commands + "\n")
		if !found && strings.HasPrefix(commands, "#") {
			out.WriteString("\n")
			continue
		}
		out.WriteString("----\n")
		for line := range strings.SplitSeq(commands, "\n") {
			if !strings.HasPrefix(line, "#") {
				s.run(strings.Fields(line))
			}
		}
		out.WriteString(s.did() + "\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// script is a core, its store and what its peers have.
type script struct {
	t     *testing.T
	core  *Core
	now   time.Duration
	wall  time.Time
	local record.Version
	store map[record.Writer]State
	peers map[string][]State
	batch []record.Delivery
	said  []string
}

func newScript(t *testing.T) *script {
	s := &script{t: t, wall: time.Unix(1000, 0), store: map[record.Writer]State{}, peers: map[string][]State{}}
	s.core = New(Config{Seed: 1}, writer("a/10"), nil, 0, s.wall)
	return s
}

// writer reads node/boot.
func writer(s string) record.Writer {
	node, boot, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(boot, 10, 64)
	if err != nil {
		panic(err)
	}
	return record.Writer{Node: record.Node(node), Boot: n, Bits: 1}
}

// ranges reads "1-3 5".
func ranges(words []string) (out []record.Range) {
	for _, w := range words {
		from, to, ok := strings.Cut(w, "-")
		if !ok {
			to = from
		}
		a, _ := strconv.ParseUint(from, 10, 64)
		b, err := strconv.ParseUint(to, 10, 64)
		if err != nil {
			panic(err)
		}
		out = append(out, record.Range{From: record.Version(a), To: record.Version(b)})
	}
	return out
}

func set(rs []record.Range) (r record.Received) {
	for _, g := range rs {
		r = r.With(g)
	}
	return r
}

// changeset is the one that w commits as v in scripts.
func changeset(w record.Writer, v record.Version) record.Changeset {
	key, _ := record.EncodeKey(record.Of(string(w.Node)), record.Of(int(v)))
	return record.Changeset{Writer: w, Version: v, Records: []record.Record{{Table: 1, Kind: record.Owned, Key: key}}}
}

func delivery(w record.Writer, g record.Range) record.Delivery {
	d := record.Delivery{Writer: w, Range: g}
	for v := g.From; v <= g.To; v++ {
		d.Changesets = append(d.Changesets, changeset(w, v))
	}
	return d
}

func (s *script) run(args []string) {
	switch args[0] {
	case "connect":
		s.step(Connected{record.Node(args[1])})
	case "lost":
		s.step(Lost{record.Node(args[1])})
	case "refused":
		s.step(Refused{record.Node(args[1]), args[2] == "push"})
	case "after": // lets time pass, with every Tick that falls due; quietly: without the roots sent
		before := len(s.said)
		d, err := time.ParseDuration(args[1])
		if err != nil {
			s.t.Fatal(err)
		}
		for end := s.now + d; ; {
			if at := s.core.Wake(); at <= end {
				s.now = max(at, s.now)
				s.core.Tick(s.now, s.wall)
				s.ready()
				continue
			}
			s.now = end
			break
		}
		if len(args) > 2 {
			s.said = append(s.said[:before], slices.DeleteFunc(slices.Clone(s.said[before:]), func(l string) bool { return strings.Contains(l, "<- root") })...)
		}
	case "commit": // this node writes
		s.local++
		c := changeset(s.core.self, s.local)
		s.commit(c.Writer, record.Range{From: s.local, To: s.local}, &c)
	case "push": // push FROM WRITER VERSION
		g := ranges(args[3:])[0]
		s.frame(args[1], appendParcel([]byte{kindPush}, delivery(writer(args[2]), g)))
	case "applied", "known", "malformed":
		s.applied(args[0])
	case "fail":
		s.step(ApplyFailed{})
	case "has": // has PEER WRITER RANGES: what a peer has from now on
		st := State{Writer: writer(args[2]), Received: set(ranges(args[3:]))}
		states := slices.DeleteFunc(s.peers[args[1]], func(o State) bool { return o.Writer == st.Writer })
		states = append(states, st)
		slices.SortFunc(states, func(a, b State) int { return a.Writer.Compare(b.Writer) })
		s.peers[args[1]] = states
	case "damage": // damage PEER WRITER [shared]: its rows there do not sum to what they should
		for i := range s.peers[args[1]] {
			if st := &s.peers[args[1]][i]; st.Writer == writer(args[2]) {
				st.Fingerprints[len(args)-3].Lo++
			}
		}
	case "checked": // sound, damaged or failed
		s.step(Checked{Damaged: args[1] == "damaged", Failed: args[1] == "failed"})
	case "root":
		s.frame(args[1], rootFrame(RootOf(s.peers[args[1]])))
	case "leaves":
		s.frame(args[1], leavesFrame(len(args) > 2, leavesOf(s.peers[args[1]])))
	case "sets": // sets PEER NODES
		rest := RootOf(s.peers[args[1]])
		var states []State
		for _, n := range args[2:] {
			of := of(s.peers[args[1]], record.Node(n))
			rest = minus(rest, RootOf(of))
			states = append(states, of...)
		}
		s.frame(args[1], setsFrame(rest, states))
	case "ask":
		var nodes []record.Node
		for _, n := range args[2:] {
			nodes = append(nodes, record.Node(n))
		}
		s.frame(args[1], askFrame(nodes))
	case "want": // want PEER ID WRITER RANGES
		id, _ := strconv.ParseUint(args[2], 10, 64)
		s.frame(args[1], wantFrame(id, 1000, []Want{{writer(args[3]), ranges(args[4:])}}))
	case "answer": // answer PEER ID/FRAME more|last [WRITER RANGE]
		what, number, _ := strings.Cut(args[2], "/")
		id, _ := strconv.ParseUint(what, 10, 64)
		a := NewAnswer(Serve{ID: id, Limit: 1 << 20})
		if len(args) > 4 {
			a.Add(delivery(writer(args[4]), ranges(args[5:])[0]))
		}
		f := a.Frames()[0]
		n, _ := strconv.ParseUint(number, 10, 8)
		f[answerHead-2] = byte(n)
		if args[3] == "more" {
			f[answerHead-1] = 0
		}
		s.frame(args[1], f)
	case "served":
		id, _ := strconv.ParseUint(args[2], 10, 64)
		s.step(Served{To: record.Node(args[1]), ID: id, Frames: NewAnswer(Serve{ID: id, Limit: 1 << 20}).Frames()})
	case "renewed":
		s.local = 0
		s.step(Renewed{writer(args[1])})
	case "reload":
		var states []State
		for _, st := range s.store {
			states = append(states, st)
		}
		s.step(Reloaded{States: states})
	case "bytes": // bytes PEER HEX
		var b []byte
		if _, err := fmt.Sscanf(args[2], "%x", &b); err != nil {
			s.t.Fatal(err)
		}
		s.frame(args[1], b)
	default:
		s.t.Fatalf("unknown command %q", args)
	}
}

func (s *script) frame(from string, b []byte) { s.step(Arrived{record.Node(from), b}) }

func (s *script) step(e Event) {
	s.core.Step(s.now, e)
	s.ready()
}

// commit has the store tell of what it received.
func (s *script) commit(w record.Writer, g record.Range, local *record.Changeset) {
	st := s.store[w]
	st.Writer, st.Received = w, st.Received.With(g)
	s.store[w] = st
	s.step(Committed{[]Entry{{Local: local, States: []State{st}}}})
}

func (s *script) applied(how string) {
	outcome := map[string]Outcome{"applied": Taken, "known": Known, "malformed": Malformed}[how]
	batch := s.batch
	outcomes := make([]Outcome, len(batch))
	for i := range batch {
		outcomes[i] = outcome
	}
	s.core.Step(s.now, Applied{outcomes})
	if outcome == Taken {
		for _, d := range batch {
			s.commit(d.Writer, d.Range, nil)
		}
	}
	s.ready()
}

// ready takes down what the core wants done.
func (s *script) ready() {
	r := s.core.Ready()
	for _, f := range r.Sends {
		s.say("%s <- %s", f.To, describe(f.Frame))
	}
	if r.Apply != nil {
		s.batch = r.Apply
		var ds []string
		for _, d := range r.Apply {
			ds = append(ds, describeRange(d.Writer, d.Range))
		}
		s.say("apply %s", strings.Join(ds, ", "))
	}
	for _, v := range r.Serves {
		s.say("serve %s id %d: %s", v.To, v.ID, describeWants(v.Wants))
	}
	if r.Check {
		s.say("check")
	}
	if r.Renew > 0 {
		s.say("renew to boot %d", r.Renew)
	}
	for _, p := range r.Reports {
		line := fmt.Sprintf("report %s of %s", p.Kind, p.Peer)
		if !p.Writer.IsZero() {
			line += fmt.Sprintf(", writer %s/%d", p.Writer.Node, p.Writer.Boot)
		}
		if p.Err != nil {
			line += ": " + p.Err.Error()
		}
		s.say("%s", line)
	}
}

func (s *script) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if s.now > 0 {
		line = fmt.Sprintf("%6dms  %s", s.now.Milliseconds(), line)
	} else {
		line = "     0ms  " + line
	}
	s.said = append(s.said, line)
}

func (s *script) did() string {
	out := strings.Join(append(s.said, ""), "\n")
	s.said = nil
	return out
}

func describe(f []byte) string {
	r := reader{b: f[1:]}
	switch f[0] {
	case kindPush:
		return "push " + describeParcels(r.parcels())
	case kindRoot:
		return "root " + r.digest().String()[:6]
	case kindLeaves:
		reply, leaves := r.leaves()
		out := "leaves"
		if reply {
			out = "leaves in reply"
		}
		for _, l := range leaves {
			out += fmt.Sprintf(" %s=%s", l.node, l.digest.String()[:6])
		}
		return out
	case kindAsk:
		return fmt.Sprint("ask ", r.ask())
	case kindSets:
		r.digest()
		out := "sets"
		for _, st := range r.states() {
			out += fmt.Sprintf(" %s/%d=%v", st.Writer.Node, st.Writer.Boot, st.Received)
		}
		return out
	case kindWant:
		id, _, wants := r.want()
		if list := r.listingWant(); list.Mode > 0 {
			return fmt.Sprintf("want id %d: listing of mode %d for %v", id, list.Mode, list.Nodes)
		}
		return fmt.Sprintf("want id %d: %s", id, describeWants(wants))
	case kindAnswer:
		return fmt.Sprintf("answer id %d frame %d last %d ", binary.BigEndian.Uint64(r.take(8)), r.byte(), r.byte()) + describeParcels(r.parcels())
	}
	return fmt.Sprintf("%x", f)
}

// leavesOf returns the leaves over states, which are ordered by writer.
func leavesOf(states []State) (out []nodeLeaf) {
	for i := 0; i < len(states); {
		n := len(of(states[i:], states[i].Writer.Node))
		out = append(out, nodeLeaf{states[i].Writer.Node, RootOf(states[i : i+n])})
		i += n
	}
	return out
}

func describeParcels(ps []parcel) string {
	var out []string
	for _, p := range ps {
		out = append(out, describeRange(p.writer, p.rang))
	}
	return strings.Join(out, ", ")
}

func describeRange(w record.Writer, g record.Range) string {
	if g.To == ^record.Version(0) {
		return fmt.Sprintf("%s/%d@%d-", w.Node, w.Boot, g.From)
	}
	if g.From == g.To {
		return fmt.Sprintf("%s/%d@%d", w.Node, w.Boot, g.From)
	}
	return fmt.Sprintf("%s/%d@%d-%d", w.Node, w.Boot, g.From, g.To)
}

func describeWants(ws []Want) string {
	var out []string
	for _, w := range ws {
		for _, g := range w.Ranges {
			out = append(out, describeRange(w.Writer, g))
		}
	}
	return strings.Join(out, ", ")
}
