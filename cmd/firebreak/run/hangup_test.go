package run_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firebreak-dev/firebreak/internal/identity"
)

// withSchema gives a region's file a directory with one schema file, a.sql.
func withSchema(h *host, file, sql string) {
	h.t.Helper()
	dir := filepath.Join(h.dir, "schema")
	cfg, err := os.ReadFile(file)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("schema/a.sql", sql)
	h.write(filepath.Base(file), fmt.Sprintf("schema = %q\n%s", dir, cfg))
}

// A hangup ends no process: it looks at its files, and says what came of it.
func TestHangupIsAnsweredInTheLog(t *testing.T) {
	h := newHost(t)
	file, _, socket := h.region("w1", "")
	withSchema(h, file, "CREATE TABLE a (id TEXT NOT NULL PRIMARY KEY);")
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
