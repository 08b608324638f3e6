package config_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/config"
	"github.com/firebreak-dev/firebreak/internal/configfile"
)

var rewrite = flag.Bool("rewrite", false, "write docs/reference/config.md and deploy/config")

func TestExampleLoadsAgain(t *testing.T) {
	for _, role := range config.Roles() {
		if _, err := config.Parse(role, "example", []byte(config.Example(role))); err != nil {
			t.Errorf("%s:\n%v", role, err)
		}
	}
}

func TestExampleOfOneRoleIsRefusedByAnother(t *testing.T) {
	for _, from := range config.Roles() {
		for _, to := range config.Roles() {
			if _, err := config.Parse(to, "example", []byte(config.Example(from))); (err == nil) != (from == to) {
				t.Errorf("a %s file read as %s: %v", from, to, err)
			}
		}
	}
}

// change replaces the line of a key in a role's example.
func change(t *testing.T, role config.Role, key, line string) string {
	t.Helper()
	table, name, ok := strings.Cut(key, ".")
	if !ok {
		table, name = "", key
	}
	current, found := "", false
	lines := strings.Split(config.Example(role), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "[") {
			current = strings.Trim(l, "[]")
		}
		if current == table && strings.HasPrefix(l, name+" = ") {
			lines[i], found = line, true
		}
	}
	if !found {
		t.Fatalf("the example of %s has no %s", role, key)
	}
	return strings.Join(lines, "\n")
}

func TestBadValuesAreRefusedWithTheirPlace(t *testing.T) {
	for _, c := range []struct {
		role      config.Role
		key, line string
		want      string // after file:line:column: key:
	}{
		{"region", "fleet", `fleet = "Acme"`, "lower-case"},
		{"region", "region", `region = "global"`, "reserved"},
		{"region", "region", `region = ""`, "empty"},
		{"region", "node", `node = "w.1"`, "lower-case"},
		{"region", "generation", `generation = "1-0123"`, "16 hex digits"},
		{"region", "generation", `generation = "0-0123456789abcdef"`, "from 1"},
		{"region", "generation", `generation = "01-0123456789abcdef"`, "from 1"},
		{"region", "generation", `generation = "9223372036854775808-0123456789abcdef"`, "from 1"},
		{"region", "generation", `generation = ""`, "region add"},
		{"region", "durability", `durability = "none"`, "fsync or os"},
		{"region", "gossip.listen", `listen = "7400"`, "host:port"},
		{"region", "gossip.listen", `listen = "0.0.0.0:70000"`, "0..65535"},
		{"region", "gossip.advertise", `advertise = ""`, "others cannot dial"},
		{"region", "gossip.advertise", `advertise = "0.0.0.0:7400"`, "unspecified"},
		{"region", "gossip.advertise", `advertise = "198.51.100.1:0"`, "port 0"},
		{"region", "gossip.seeds", `seeds = ["198.51.100.2:7400", "198.51.100.2:7400"]`, "listed twice"},
		{"region", "gossip.seeds", `seeds = ["w2"]`, "host:port"},
		{"region", "globals", `globals = [":7501"]`, "unspecified"},
		{"region", "admin", `admin = "0.0.0.0:7402"`, "loopback"},
		{"region", "socket", `socket = "/` + strings.Repeat("x", 107) + `"`, "over the limit"},
		{"region", "log.level", `level = "loud"`, "debug or info"},
		{"region", "log.format", `format = "xml"`, "text or json"},
		{"region", "data", `data = ""`, "missing"},
		{"region", "tls.cert", `cert = ""`, "missing"},
		{"global", "brake", `brake = "off"`, "enforce or observe"},
		{"router", "globals", `globals = []`, "follows a global node"},
	} {
		text := change(t, c.role, c.key, c.line)
		_, err := config.Parse(c.role, "f.toml", []byte(text))
		var problems configfile.Problems
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		p := problems[0]
		if p.Key != c.key || !strings.Contains(p.Text, c.want) || strings.Split(text, "\n")[max(p.Line-1, 0)] != c.line {
			t.Errorf("%s: %v", c.line, p)
		}
	}
}

func TestEveryProblemIsSaidAtOnce(t *testing.T) {
	_, err := config.Parse(config.RoleRegion, "f.toml", []byte("fleet = \"A\"\n[log]\nlevel = \"x\"\n"))
	var problems configfile.Problems
	if !errors.As(err, &problems) {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, p := range problems {
		got[p.Key] = true
	}
	for _, key := range []string{"fleet", "node", "region", "generation", "data", "tls.cert", "tls.key", "tls.ca", "gossip.listen", "grpc.listen", "log.level"} {
		if !got[key] {
			t.Errorf("nothing said of %s in\n%v", key, err)
		}
	}
}

func TestUnknownKeyIsRefusedWithTheNearest(t *testing.T) {
	text := config.Example(config.RoleRouter) + "\n[gprc]\nlisten = \"x\"\n"
	_, err := config.Parse(config.RoleRouter, "f.toml", []byte(text))
	line := strings.Count(text, "\n") - 1
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("f.toml:%d:", line)) || !strings.Contains(err.Error(), "grpc") {
		t.Errorf("%v, want line %d", err, line)
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	for _, role := range config.Roles() {
		for _, f := range config.Keys(role) {
			if f.Comment == "" {
				t.Errorf("%s: %s has no description", role, f.Key)
			}
		}
	}
}

const (
	document = "../../../docs/reference/config.md"
	deployed = "../../../deploy/config"
)

func TestDocumentListsTheKeys(t *testing.T) {
	same(t, document, markdown())
}

func TestDeployedFilesAreTheExamplesAndLoad(t *testing.T) {
	for _, role := range config.Roles() {
		file := filepath.Join(deployed, string(role)+".toml")
		same(t, file, config.Example(role))
		if _, err := config.Load(role, file); err != nil {
			t.Error(err)
		}
	}
}

func same(t *testing.T, file, want string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the code says: run go test ./cmd/firebreak/config -rewrite", file)
	}
}

func markdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration files

Made from the configuration structs (` + "`go test ./cmd/firebreak/config -rewrite`" + `). Files are TOML. A key that is not
listed here is refused, with its line and the nearest key that is. ` + "`firebreak config check FILE --role ROLE`" + ` says
everything that is wrong with a file at once; ` + "`firebreak config example --role ROLE`" + ` prints one with every key.

Certificates are read again when their files change; so are the control file and the schema files. ` + "`SIGHUP`" + `
(` + "`systemctl reload`" + `) has a process look at its certificate and schema files at once, and say in its log what came of it.
Everything else needs a restart.
`)
	for _, role := range config.Roles() {
		fmt.Fprintf(&b, "\n## %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", role)
		for _, f := range config.Keys(role) {
			def := config.Render(f.Value)
			if f.Value.IsZero() {
				def = "none"
			} else {
				def = "`" + def + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Key, f.Kind, def, f.Comment)
		}
	}
	b.WriteString(`
## The control file

The kill switches of one process, in the file that ` + "`control`" + ` names. It is looked at every second. A change that cannot be
read leaves the switches as they were and is shown by ` + "`AdminService.Switches`" + `; without a file every switch is off.
A key may be written with a dash, as "freeze-egress".

| key | value | meaning |
|---|---|---|
| ` + "`freeze_egress`" + ` | boolean | send no replicated data to any peer; what is owed is sent after |
| ` + "`deny_node`" + ` | list of strings | names of nodes whose connections are refused |
`)
	return b.String()
}
