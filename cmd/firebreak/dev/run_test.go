package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/check"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/edge"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/fault"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/federation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/propagation"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/survey"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/dev/truth"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/trace/tracegen"
	"github.com/firebreak-dev/firebreak/internal/fleet"
)

const day = trace.Time(24 * 3600 * 1e9)

func writeTrace(t *testing.T, machines []trace.Machine) string {
	t.Helper()
	var b bytes.Buffer
	if err := tracegen.WriteCSV(&b, machines); err != nil {
		t.Fatal(err)
	}
	return writeFile(t, b.String())
}

func readReport(t *testing.T, file string) report {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// liveRows asks Debian's sqlite3 what has not ended on one node of a region.
func liveRows(t *testing.T, db string) int {
	t.Helper()
	out, err := exec.Command("sqlite3", "-readonly", db, "SELECT count(*) FROM fleet_machines WHERE state <> 'ended'").CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %s: %v: %s", db, err, out)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAReplayedTraceEndsAtItsTruthInEveryTier(t *testing.T) {
	t.Parallel()
	machines := tracegen.Generate(tracegen.Config{Seed: 11, Machines: 600, Apps: 90, Span: 6 * day})
	const until = 5 * day
	want := trace.Count(machines, until)
	data, file := filepath.Join(t.TempDir(), "dev"), filepath.Join(t.TempDir(), "report.json")
	out, code, errText := command(t, "--data", data, "--regions", "iad,ams", "--workers", "3", "--globals", "2", "--traffic", "off",
		"--trace", writeTrace(t, machines), "--trace-columns", "id=instance,app=service,create=created,delete=deleted",
		"--trace-speed", "150000", "--trace-until", strconv.FormatFloat(until.Seconds(), 'f', -1, 64), "--report", file)
	if code != 0 {
		t.Fatalf("exit %d: %s\n%s", code, errText, out)
	}
	r := readReport(t, file)
	got := map[fleet.App]int{}
	for app, x := range r.Apps {
		got[app] = x.Machines
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("apps (-definition +report):\n%s", diff)
	}
	if r.TraceTime == nil || *r.TraceTime != until.Seconds() || !r.OK || r.CPU <= 0 || r.RSS <= 0 || r.Seed != 1 {
		t.Errorf("report %+v", r)
	}
	for _, tier := range propagation.Tiers {
		if s := r.Propagation[tier]; s.Count == 0 || s.P50 == nil || *s.P50 < 0 || *s.Max > 20_000 {
			t.Errorf("propagation to %s: %+v", tier, s)
		}
	}
	sum, rows := 0, 0
	for region, x := range r.Regions {
		if x.Nodes != 3 || x.Root == "" {
			t.Errorf("region %s: %+v", region, x)
		}
		sum += x.Machines
		rows += liveRows(t, filepath.Join(data, string(region), string(region)+"-2", "node.db"))
	}
	total := 0
	for _, n := range want {
		total += n
	}
	if sum != total || rows != total {
		t.Errorf("%d machines by definition, %d in the report, %d rows", total, sum, rows)
	}
	dev, err := devfile.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	checkDevfile(t, dev)
}

func checkDevfile(t *testing.T, dev devfile.Dev) {
	t.Helper()
	if len(dev.Of("region")) != 6 || len(dev.Of("global")) != 2 || len(dev.Of("router")) != 1 {
		t.Errorf("dev.json has %d nodes", len(dev.Nodes))
	}
	for _, n := range dev.Nodes {
		for _, path := range []string{n.DB, n.Cert, n.Key, n.CA} {
			if !exists(path) {
				t.Errorf("%s/%s: %s is not there", n.Role, n.Name, path)
			}
		}
		if n.PID != os.Getpid() || n.GRPC == "" || n.Admin == "" || (n.Gossip == "") != (n.Role == "router") || (n.Region == "") != (n.Role != "region") {
			t.Errorf("%+v", n)
		}
		if conn, err := net.Dial("tcp", n.GRPC); err == nil {
			conn.Close()
			t.Errorf("%s/%s still listens on %s", n.Role, n.Name, n.GRPC)
		}
	}
}

// small is a session of the smallest federation, which checks itself soon.
func small(t *testing.T, data string) *session {
	t.Helper()
	return &session{
		options: options{
			spec: federation.Spec{Regions: []fleet.Region{"iad"}, Workers: 2, Globals: 1, Routers: 1},
			data: data, seed: 1, report: filepath.Join(t.TempDir(), "report.json"), given: map[string]bool{},
		},
		out: testWriter{t}, say: newProgress(testWriter{t}),
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func TestTheCheckSeesAWithdrawalThatTheTruthLacksAndOneThatTheNodesLack(t *testing.T) {
	t.Parallel()
	machines := []trace.Machine{
		{ID: "stays", App: "web", Create: trace.Before, Delete: trace.Never},
		{ID: "ends", App: "web", Create: trace.Before, Delete: 2e9},
	}
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.replay = &replayOptions{file: writeTrace(t, machines), columns: tracegen.Columns(), speed: 10, until: 3e9}
	s.checkWithin = 4 * time.Second // for what is well to be seen to be so, on a busy machine
	s.beforeCheck = func(m *truth.Model) {
		places := s.federation.Plan().Places()
		m.Put(truth.Machine{Place: places[trace.Place("ends", 2)], ID: "ends", App: "web"})
		m.End(places[trace.Place("stays", 2)], "stays")
	}
	err := s.run(t.Context())
	if err == nil {
		t.Fatal("the check saw nothing")
	}
	for _, want := range []string{"region iad machines: ", "router router-1 query: ", "catalog: ", "missing iad/", "/ends (web)", "extra iad/", "/stays (web)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	r := readReport(t, s.report)
	failed := map[string]bool{}
	for _, c := range r.Checks {
		failed[c.Name] = !c.OK
	}
	if r.OK || !failed["catalog"] || failed["region iad equal"] || failed["daemons"] {
		t.Errorf("report: ok %v, failed %v", r.OK, failed)
	}
}

// during runs s, calls do once everything is ready and ok holds, and ends s as
// Ctrl-C does. A session without a report then ends without a check.
func during(t *testing.T, s *session, ok func() bool, do func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case err := <-done:
			t.Fatalf("it ended by itself: %v", err)
		}
	}
	do()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func (s *session) ready() bool { return exists(filepath.Join(s.data, devfile.Name)) }

func TestResumeGoesOnWithWhatWasThereAndANewRunDoesNot(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "dev")
	first := small(t, data)
	first.report, first.rate = "", 100
	db := filepath.Join(data, "iad", "iad-1", "node.db")
	during(t, first, func() bool { return first.ready() && liveRows(t, db) > 20 }, func() {})
	was := liveRows(t, db)

	second := small(t, data)
	second.resume, second.exitAfter = true, 100*time.Millisecond
	if err := second.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, app := range readReport(t, second.report).Apps {
		n += app.Machines
	}
	if now := liveRows(t, db); n < 15 || n != now || n > was+10 {
		t.Errorf("%d machines before, %d in the report after --resume, %d rows", was, n, now)
	}

	third := small(t, data)
	third.report = ""
	if err := os.Remove(filepath.Join(data, devfile.Name)); err != nil { // it tells when the third is ready
		t.Fatal(err)
	}
	during(t, third, third.ready, func() {})
	if now := liveRows(t, db); now != 0 {
		t.Errorf("a new run began with %d machines", now)
	}
}

func TestASecondDevOnOneDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	s := small(t, filepath.Join(t.TempDir(), "dev"))
	s.report = ""
	during(t, s, s.ready, func() {
		_, code, errText := command(t, "--data", s.data)
		if code != 2 || !strings.Contains(errText, "in use by another dev") {
			t.Errorf("exit %d: %s", code, errText)
		}
	})
}

func TestADirectoryOfAnybodyElseIsRefused(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, code, errText := command(t, "--data", data)
	if code != 2 || !strings.Contains(errText, `"mine"`) {
		t.Errorf("exit %d: %s", code, errText)
	}
	if _, err := os.Stat(filepath.Join(data, devfile.Name)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was written")
	}
}

func TestTheReportHasItsDocumentedKeys(t *testing.T) {
	zero := 0.0
	b, err := json.Marshal(report{
		TraceTime: &zero, Apps: map[fleet.App]appReport{"web": {1}}, Regions: map[fleet.Region]check.Region{"iad": {}},
		Propagation: map[propagation.Tier]propagation.Summary{"region": {}}, Checks: []check.Check{{}},
		Faults: []fault.Verdict{{Regions: map[fleet.Region]fault.Count{"iad": {}}}},
		Report: survey.Report{Versions: map[string]int{"v1": 13}, Bytes: map[string]int64{"push": 1}},
		Edges:  edge.Report{Regions: map[fleet.Region]edge.Counts{"iad": {}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../../docs/reference/dev-report.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				if k != "web" && k != "v1" && k != "iad" && !bytes.Contains(doc, []byte("`"+k+"`")) && !bytes.Contains(doc, []byte(`"`+k+`"`)) {
					t.Errorf("key %q is not documented", k)
				}
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	walk(v)
}
