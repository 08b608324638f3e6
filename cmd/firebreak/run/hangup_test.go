package run_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/identity"
)

// A hangup ends no process: it looks at its files, and says what came of it.
func TestHangupIsAnsweredInTheLog(t *testing.T) {
	h := newHost(t)
	dir := filepath.Join(h.dir, "schema")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.write("schema/a.sql", "CREATE TABLE a (id TEXT NOT NULL PRIMARY KEY);")
	file, _, socket := h.region("w1", "")
	cfg, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h.write("w1.toml", "schema = \""+dir+"\"\n"+string(cfg))
	n := startNode(t, file, socket)
	n.eventually("the node has started", func() bool { return strings.Contains(n.errs.String(), "msg=started") })
	hangup := func(answers ...string) {
		t.Helper()
		before := len(n.errs.String())
		if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for _, want := range answers {
			n.eventually("the log says "+want, func() bool { return strings.Contains(n.errs.String()[before:], want) })
		}
	}
	hangup(`"SIGHUP: certificate looked at" changed=false`, `"SIGHUP: schema files looked at" changed=false`)

	cert, key, err := h.ca.Issue(identity.ID{Fleet: "acme", Role: identity.Node, Region: "iad", Name: "w1"}, nil, 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h.write("w1.key", string(key))
	h.write("w1.pem", string(cert))
	h.write("schema/a.sql", "CREATE TABLE a (id TEXT PRIMARY KEY);")
	hangup(`SIGHUP: certificate`, `"SIGHUP: schema files are not loaded: the schema stays as it is"`, "nullable-key")
	n.stop()
}
