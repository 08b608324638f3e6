package archtest

import (
	"go/ast"
	"testing"
)

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if within(p.path(), "proto") {
			continue // generated
		}
		_, files := p.files(t)
		said := false
		for _, f := range files {
			said = said || f.Doc != nil && len(f.Doc.Text()) > 40
		}
		if !said {
			t.Errorf("%s has no package comment", p.path())
		}
	}
}

// A retry that sleeps by itself has no jitter and no cap. Retries wait in
// internal/backoff.
func TestOnePlaceSleepsBetweenRetries(t *testing.T) {
	for _, p := range packages(t) {
		if within(p.path(), "internal/backoff") {
			continue
		}
		fset, files := p.files(t)
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && isPkg(sel, "time") && sel.Sel.Name == "Sleep" {
					t.Errorf("%v: time.Sleep outside internal/backoff", fset.Position(n.Pos()))
				}
				return true
			})
		}
	}
}

func isPkg(sel *ast.SelectorExpr, name string) bool {
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == name
}
