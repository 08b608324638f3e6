package access_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/access"
	"github.com/firebreak-dev/firebreak/internal/identity"
)

var rewrite = flag.Bool("rewrite", false, "write docs/reference/access.md")

const document = "../../docs/reference/access.md"

func TestDocumentIsTheTable(t *testing.T) {
	want := markdown()
	if *rewrite {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the table says: run go test ./internal/access -rewrite", document)
	}
}

func markdown() string {
	var b strings.Builder
	b.WriteString(`# Who may call what

Made from the table in package internal/access (` + "`go test ./internal/access -rewrite`" + `). A caller is who its certificate
says, checked inside the TLS handshake; ` + "`local`" + ` is whoever the mode of a node's unix socket lets in. What no row allows is
refused with PERMISSION_DENIED, naming the role and the method.

## Handshakes

Every caller must be of the same fleet. Who is not in this table never gets as far as a method.

| listener of | lets in | of | why |
|---|---|---|---|
`)
	for _, l := range access.Listeners() {
		region := "any region"
		switch {
		case l.OwnRegion:
			region = "nodes and gateways: its own region"
		case l.Name == "socket":
			region = "the host"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", l.Name, names(l.Roles), region, l.Why)
	}
	b.WriteString(`
## Methods

| service | method | callers | why |
|---|---|---|---|
`)
	for _, r := range access.Table() {
		method := r.Method
		if method == "" {
			method = "every other"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Service, method, names(r.Roles), r.Why)
	}
	return b.String()
}

func names(roles []identity.Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = access.RoleName(r)
	}
	return strings.Join(words, ", ")
}
