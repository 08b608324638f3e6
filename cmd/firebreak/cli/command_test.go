package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/internal/admin"
	"github.com/firebreak-dev/firebreak/internal/control"
	"github.com/firebreak-dev/firebreak/internal/identity"
	adminpb "github.com/firebreak-dev/firebreak/proto/firebreak/admin/v1"
	clusterpb "github.com/firebreak-dev/firebreak/proto/firebreak/cluster/v1"
	regionpb "github.com/firebreak-dev/firebreak/proto/firebreak/region/v1"
	routerpb "github.com/firebreak-dev/firebreak/proto/firebreak/router/v1"
)

func TestTyposAreUnderstood(t *testing.T) {
	for typed, want := range map[string]string{
		"exce": "\texec\n", "schema lnit .": "did you mean 'firebreak schema lint'?\n", "machine pubish m1": "did you mean 'firebreak machine publish'?\n",
		"schema xyzzy": "see 'firebreak schema --help'\n",
	} {
		got := run(t, "", strings.Fields(typed)...)
		if got.code != 2 || !strings.Contains(got.err, want) || strings.Contains(got.err, "did you mean") != strings.HasPrefix(want, "did you") {
			t.Errorf("%s: %+v", typed, got)
		}
	}
	if got := run(t, "", "--version"); got != run(t, "", "version") || got.code != 0 {
		t.Errorf("--version: %+v", got)
	}
}

func TestUsageErrorsAreTwo(t *testing.T) {
	f := newFleet(t)
	me := f.as(identity.Operator)
	for _, args := range [][]string{
		{"nonsense"}, {"where"}, {"where", "a", "b"}, {"where", "web", "--colour"}, {"where", "web", "-o", "xml"},
		{"where", "web"}, // nobody to ask
		{"where", "No App", "--router", "127.0.0.1:1"},
		{"where", "web", "--router", "127.0.0.1:1"},                           // no certificate
		{"where", "web", "--router", "127.0.0.1:1", "--cert", "x"},            // no key
		words("where web --node 127.0.0.1:1", me...),                          // asks a router
		words("where web --router 127.0.0.1:1 --cert /none --key /n --ca /n"), // no such file
		words("machine list", me...),                                          // no node
		words("machine publish --node 127.0.0.1:1", me...),                    // nothing to publish
		words("machine publish m1 --app web --address host --node 127.0.0.1:1", me...),
		words("machine publish m1 --app web --port 70000 --node 127.0.0.1:1", me...),
		words("machine withdraw m1 --why bored --node 127.0.0.1:1", me...),
		words("machine reconcile --node 127.0.0.1:1", me...),
		words("wait nonsense --node 127.0.0.1:1", me...),
		words("wait w1/1/0000000000000001@0 --node 127.0.0.1:1", me...),
		words("wait w1/1/0000000000000001@1 --scope world --node 127.0.0.1:1", me...),
		words("region add global --node 127.0.0.1:1", me...),
		words("region add iad --generation 1 --node 127.0.0.1:1", me...),
		{"query", "SELECT 1", "--policy", "some"}, {"query", "SELECT 1", "--quorum", "2"}, {"query", "SELECT 1", "--region", "a", "--app", "b"},
		{"config", "check", "/none", "--role", "region"}, {"config", "check", "x"}, {"config", "example", "--role", "king"},
		{"tls", "init"}, {"tls", "issue", "--dir", "/none", "--role", "node", "--name", "w1"},
		{"status", "--dev", "/none"},
		words("where web --timeout 0s --router 127.0.0.1:1", me...), words("where web --timeout -1s --router 127.0.0.1:1", me...),
		words("watch web --for -1s --router 127.0.0.1:1", me...),
		words("where web --router localhost", me...), words("where web --router 127.0.0.1:0", me...), words("machine list --node 127.0.0.1:70000", me...),
		append([]string{"query", " ", "--router", "127.0.0.1:1"}, me...), append([]string{"query", "SELECT '\xff'", "--router", "127.0.0.1:1"}, me...),
		words("query SELECT --region Bad --router 127.0.0.1:1", me...),
		append([]string{"machine", "get", "", "--node", "127.0.0.1:1"}, me...), append([]string{"machine", "withdraw", "m1", "", "--node", "127.0.0.1:1"}, me...),
		words("machine list --app Bad --node 127.0.0.1:1", me...), words("machine publish m1 --app web --state moved --node 127.0.0.1:1", me...),
		{"tls", "issue", "--dir", f.dir, "--role", "client", "--name", "w1", "--ttl", "-1h"},
	} {
		if got := run(t, "", args...); got.code != 2 || got.err == "" || got.out != "" {
			t.Errorf("%v: %v", args, got)
		}
	}
}

func TestAsksTheRoleThatItNeeds(t *testing.T) {
	f := newFleet(t)
	node := f.region(&fakeRegion{})
	got := run(t, "", words("where web --router "+node, f.as(identity.Operator)...)...)
	if got.code != 2 || !strings.Contains(got.err, "is a region, this command asks a router") {
		t.Error(got)
	}
}

func TestPublishSendsTheLines(t *testing.T) {
	f := newFleet(t)
	r := &fakeRegion{}
	addr := f.region(r)
	lines := "\xef\xbb\xbf" + `{"id":"m1","app":"web","addresses":["::ffff:10.0.0.1"],"services":[{"port":80}],"metadata":{"a":1}}` + "\r\n\n" +
		`{"id":"m2","app":"web","state":"starting","health":"failing"}`
	got := run(t, lines, words("machine publish -f - -o json --node "+addr, f.as(identity.Operator)...)...)
	if got.code != 0 || !strings.Contains(got.out, `"w1/7/0000000000000009@1"`) {
		t.Fatal(got)
	}
	m := r.published.GetMachines()
	if len(m) != 2 || m[0].GetAddresses()[0] != "10.0.0.1" || m[0].GetState() != regionpb.MachineState_MACHINE_STATE_STARTED ||
		m[0].GetMetadata() != `{"a":1}` || m[1].GetState() != regionpb.MachineState_MACHINE_STATE_STARTING || m[1].GetHealth() != regionpb.HealthStatus_HEALTH_STATUS_FAILING {
		t.Errorf("published %v", m)
	}
}

func TestBadLineIsNamedAndNothingIsSent(t *testing.T) {
	f := newFleet(t)
	r := &fakeRegion{}
	addr := f.region(r)
	me := f.as(identity.Operator)
	good := `{"id":"a","app":"web"}` + "\n" + `{"id":"b","app":"web"}` + "\n"
	for _, bad := range []string{
		`{"id":"c","app":"web"`, `{"id":"c","app":"web","colour":1}`, `{"id":"c","app":"Web"}`, `{"id":"","app":"web"}`, `[]`, `"x"`, `1`,
		`{"id":"c","app":"web","addresses":["host"]}`, `{"id":"c","app":"web","services":[{"port":0}]}`, `{"id":"c","app":"web","services":[{"port":70000}]}`,
		`{"id":"c","app":"web","services":[{"port":-1}]}`, `{"id":"c","app":"web","state":"ended-ish"}`, `{"id":"c","app":"web","epoch":3}`,
		`{"id":"c","app":"web"}{"id":"d","app":"web"}`, `{"id":"a","app":"web"}`, `{"id":"c","app":"web","why":"destroyed"}`,
		`{"id":"c\xff","app":"web"}`, `{"id":"c","app":"web","state":"ended"}`, `{"id":"c","app":"web","state":"moved"}`,
		`{"id":"c","app":"web","metadata":[1]}`, `{"id":"c","app":"web","resources":"x"}`,
		`{"id":"c","app":"web","metadata":"` + strings.Repeat("x", 17<<10) + `"}`, strings.Repeat("x", 2<<20),
	} {
		got := run(t, good+bad+"\n"+good, words("machine publish -f - --node "+addr, me...)...)
		if got.code != 2 || !strings.Contains(got.err, "line 3:") || !strings.Contains(got.err, "nothing was sent") {
			t.Errorf("%.60s: %.300v", bad, got)
		}
	}
	if r.published != nil {
		t.Errorf("published %v", r.published)
	}
}

func TestBadLineNamesItsFile(t *testing.T) {
	f := newFleet(t)
	file := f.write("my-list.ndjson", []byte("x"))
	for stdin, want := range map[string]string{file: file + ": line 1:", "-": "standard input: line 1:"} {
		got := run(t, "x", "machine", "publish", "-f", stdin, "--node", "127.0.0.1:1")
		if got.code != 2 || !strings.Contains(got.err, want) {
			t.Error(got)
		}
	}
}

func TestUsageErrorsSayWhereHelpIs(t *testing.T) {
	if got := run(t, "", "machine", "get"); !strings.Contains(got.err, "see 'firebreak machine get --help'") {
		t.Error(got)
	}
	if got := run(t, "", "wher", "web"); got.code != 2 || !strings.Contains(got.err, "where") {
		t.Error(got)
	}
}

func TestAnotherGenerationThanARegionHasIsNotTaken(t *testing.T) {
	f := newFleet(t)
	addr := f.global(&fakeGlobal{has: &clusterpb.Generation{Number: 1, Bits: 0xabc}})
	me := f.as(identity.Operator)
	if got := run(t, "", words("region add iad --generation 2-0123456789abcdef --node "+addr, me...)...); got.code != 1 || !strings.Contains(got.err, "was not taken") {
		t.Error(got)
	}
	if got := run(t, "", words("region add iad --generation 1-0000000000000abc --node "+addr, me...)...); got.code != 0 {
		t.Error(got)
	}
}

func TestGetIsNotFoundOnlyFromAFitNode(t *testing.T) {
	f := newFleet(t)
	me := f.as(identity.Client)
	for fit, want := range map[bool]int{true: 3, false: 4} {
		addr := f.region(&fakeRegion{fit: fit})
		if got := run(t, "", words("machine get m1 --node "+addr, me...)...); got.code != want {
			t.Errorf("fit %v: %v", fit, got)
		}
	}
	addr := f.region(&fakeRegion{listed: []*regionpb.Machine{{Id: "m1", Worker: "w1", App: "web", Metadata: "{not json"}}})
	if got := run(t, "", words("machine get m1 -o json --node "+addr, me...)...); got.code != 0 || !strings.Contains(got.out, `"metadata":"{not json"`) {
		t.Error(got)
	}
}

func TestTableShowsControlCharactersAndObeysNone(t *testing.T) {
	f := newFleet(t)
	addr := f.region(&fakeRegion{fit: true, listed: []*regionpb.Machine{{Id: "m1\x1b[2J", Worker: "w1\n", App: "web"}}})
	got := run(t, "", words("machine list --node "+addr, f.as(identity.Client)...)...)
	if strings.ContainsAny(got.out, "\x1b") || strings.Count(got.out, "\n") != 2 {
		t.Errorf("%q", got.out)
	}
}

func TestWaitNamesWhoLacksWhat(t *testing.T) {
	f := newFleet(t)
	addr := f.region(&fakeRegion{wait: &regionpb.WaitResponse{Lacks: []*regionpb.Lack{{Node: "w2", Reason: "gap", Point: &clusterpb.Point{Node: "w1", Boot: 1, Bits: 1, Version: 4}}}}})
	got := run(t, "", words("wait w1/1/0000000000000001@4 --scope region -o json --node "+addr, f.as(identity.Client)...)...)
	var a struct {
		Reached bool
		Lacks   []struct{ Node, Point, Reason string }
	}
	if err := json.Unmarshal([]byte(got.out), &a); err != nil || got.code != 1 || a.Reached || len(a.Lacks) != 1 || a.Lacks[0].Point != "w1/1/0000000000000001@4" {
		t.Errorf("%v (%v)", got, err)
	}
}

func TestRegionAddPrintsTheConfigurationLine(t *testing.T) {
	f := newFleet(t)
	addr := f.global(&fakeGlobal{})
	me := f.as(identity.Operator)
	if got := run(t, "", words("region add iad --node "+addr, me...)...); got.code != 0 || got.out != "generation = \"1-0000000000000abc\"\n" {
		t.Error(got)
	}
	if got := run(t, "", words("region add iad --generation 2-00000000000000ff --node "+addr, me...)...); got.out != "generation = \"2-00000000000000ff\"\n" {
		t.Error(got)
	}
	if got := run(t, "", words("region add iad --node "+addr, f.as(identity.Client)...)...); got.code != 6 {
		t.Errorf("a client: %v", got)
	}
}

func TestStatusOfTheDevFederationCoversEveryNode(t *testing.T) {
	f := newFleet(t)
	op := f.files(identity.ID{Fleet: "acme", Role: identity.Operator, Name: "dev"})
	dev := devfile.Dev{Fleet: "acme", Operator: &devfile.Identity{Cert: op.Cert, Key: op.Key, CA: op.CA}, Nodes: []devfile.Node{
		{Role: "region", Region: "iad", Name: "w1", GRPC: f.region(&fakeRegion{fit: true})},
		{Role: "router", Name: "r1", GRPC: f.router(&fakeRouter{status: &routerpb.StatusResponse{Node: "r1", Ready: true}})},
	}}
	dir := t.TempDir()
	check := func(want, answers int) {
		t.Helper()
		if err := dev.Write(dir); err != nil {
			t.Fatal(err)
		}
		got := run(t, "", "status", "-o", "json", "--dev", dir)
		var a struct {
			Nodes []struct {
				Role, Name, Root string
				Answers          bool
			}
		}
		if err := json.Unmarshal([]byte(got.out), &a); err != nil || got.code != want || len(a.Nodes) != len(dev.Nodes) {
			t.Fatalf("%v (%v), want exit %d", got, err, want)
		}
		n := 0
		for _, s := range a.Nodes {
			if s.Answers {
				n++
			}
		}
		if n != answers || a.Nodes[0].Root != "00ff" {
			t.Errorf("%d answered, want %d: %v", n, answers, got)
		}
	}
	check(0, 2)
	dev.Nodes = append(dev.Nodes, devfile.Node{Role: "global", Name: "g1", GRPC: nowhere(t)})
	check(4, 2)
	if got := run(t, "", "machine", "list", "--node", "iad/w1", "--dev", dir); got.code != 0 {
		t.Errorf("a node by name: %v", got)
	}
	if got := run(t, "", "machine", "list", "--node", "iad/w9", "--dev", dir); got.code != 2 {
		t.Errorf("a node that is not there: %v", got)
	}
}

func TestStatusShowsTheSwitchesToAnOperatorOnly(t *testing.T) {
	f := newFleet(t)
	switches, err := control.Open(f.write("control.toml", []byte("freeze_egress = true\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	addr := f.serve(identity.ID{Fleet: "acme", Role: identity.Router, Name: "r1"}, func(s grpc.ServiceRegistrar) {
		routerpb.RegisterRouterServiceServer(s, &fakeRouter{status: &routerpb.StatusResponse{Node: "r1", Ready: true}})
		adminpb.RegisterAdminServiceServer(s, admin.NewService(admin.Info{}, switches))
	})
	if got := run(t, "", words("status --router "+addr, f.as(identity.Operator)...)...); got.code != 0 || !strings.Contains(got.err, "egress is frozen by "+f.dir) {
		t.Errorf("an operator: %v", got)
	}
	if got := run(t, "", words("status -o json --router "+addr, f.as(identity.Client)...)...); got.code != 0 || strings.Contains(got.out, "freeze_egress") {
		t.Errorf("a client: %v", got)
	}
}

func TestConfigCheckSaysEverythingAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "region.toml")
	example := run(t, "", "config", "example", "--role", "region").out
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "", "config", "check", file, "--role", "region"); got.code != 0 {
		t.Errorf("the example: %v", got)
	}
	if err := os.WriteFile(file, []byte("regoin = \"iad\"\nfleet = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "", "config", "check", file, "--role", "region"); got.code != 2 || !strings.Contains(got.err, file+":2:9: fleet: want a string") {
		t.Errorf("a wrong type: %v", got)
	}
	if err := os.WriteFile(file, []byte("regoin = \"iad\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "", "config", "check", file, "--role", "region"); got.code != 2 || !strings.Contains(got.err, file+`:1:1: regoin: unknown key; did you mean "region"?`) {
		t.Errorf("an unknown key: %v", got)
	}
}

func TestTLSIssuesWhatAFleetRunsOn(t *testing.T) {
	dir, out := filepath.Join(t.TempDir(), "ca"), t.TempDir()
	if got := run(t, "", "tls", "init", "--fleet", "acme", "--dir", dir); got.code != 0 {
		t.Fatal(got)
	}
	if got := run(t, "", "tls", "init", "--fleet", "acme", "--dir", dir); got.code != 2 {
		t.Errorf("over an authority: %v", got)
	}
	if got := run(t, "", words("tls issue --role gateway --region iad --name w1 --host 127.0.0.1 --dir "+dir+" --out "+out)...); got.code != 0 {
		t.Fatal(got)
	}
	s, err := identity.Load(identity.Files{Cert: filepath.Join(out, "w1.pem"), Key: filepath.Join(out, "w1.key"), CA: filepath.Join(out, "ca.pem")})
	if err != nil {
		t.Fatal(err)
	}
	if s.ID().String() != "spiffe://acme/region/iad/gateway/w1" {
		t.Errorf("issued %v", s.ID())
	}
	if info, err := os.Stat(filepath.Join(out, "w1.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode: %v, %v", info.Mode(), err)
	}
	for _, bad := range []string{"--role node --name w1", "--role router --region iad --name r1", "--role king --name x", "--role node --region iad --name A"} {
		if got := run(t, "", words("tls issue --dir "+dir+" --out "+out+" "+bad)...); got.code != 2 {
			t.Errorf("%s: %v", bad, got)
		}
	}
}

func TestCompletionsExist(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := run(t, "", "completion", shell); got.code != 0 || len(got.out) < 500 {
			t.Errorf("%s: %v", shell, got)
		}
	}
	if got := run(t, "", "__complete", "where", "web", "-o", ""); !strings.Contains(got.out, "ndjson") {
		t.Errorf("formats: %v", got)
	}
	if got := run(t, "", "__complete", "config", "check", "--role", ""); !strings.Contains(got.out, "router") {
		t.Errorf("roles: %v", got)
	}
}

func TestVersion(t *testing.T) {
	if got := run(t, "", "version"); got.code != 0 || got.out != "test\n" {
		t.Error(got)
	}
	if got := run(t, "", "version", "-o", "ndjson"); got.out != "{\"version\":\"test\"}\n" {
		t.Error(got)
	}
}
