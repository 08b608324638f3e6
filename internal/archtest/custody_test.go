package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"testing"
)

// opens lists the functions that open databases, each with the copy of SQLite
// that it does so with. There is one for files of each; the others open what
// lies in memory, or belongs to a benchmark.
var opens = []string{
	"internal/store/sqlite.openDSN Cgo",
	"internal/store/sqlite/reduce.Rows Cgo",
	"internal/store/sqlite/plain.Open Cgo",
	"internal/checkpoint/child.openDatabase Modernc",
	"internal/checkpoint/child.Restore Modernc",
}

// Two copies of SQLite on one file in one process corrupt it, so whoever opens
// one takes the custody of the process first.
func TestDatabasesAreOpenedInCustodyOnly(t *testing.T) {
	litestream := "github.com/benbjohnson/litestream"
	var found []string
	for _, p := range packages(t) {
		if slices.Contains(p.Imports, litestream) && p.path() != "internal/checkpoint/child" {
			t.Errorf("%s imports Litestream, which opens databases with an SQLite of its own: only internal/checkpoint/child may", p.path())
		}
		_, files := p.files(t)
		for _, f := range files {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || !opensDatabase(fn) {
					continue
				}
				engine := takes(fn)
				if engine == "" {
					t.Errorf("%s.%s opens a database without custody.Take", p.path(), fn.Name.Name)
				}
				found = append(found, fmt.Sprintf("%s.%s %s", p.path(), fn.Name.Name, engine))
			}
		}
	}
	slices.Sort(found)
	want := slices.Sorted(slices.Values(opens))
	if !slices.Equal(found, want) {
		t.Errorf("databases are opened by\n%q, want\n%q", found, want)
	}
}

// opensDatabase reports whether fn makes a connection of the driver, or hands
// Litestream a file.
func opensDatabase(fn *ast.FuncDecl) (yes bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			yes = yes || isPkg(n, "sqlite3") && n.Sel.Name == "SQLiteDriver" ||
				isPkg(n, "litestream") && (n.Sel.Name == "NewDB" || n.Sel.Name == "NewRestoreOptions") ||
				isPkg(n, "sql") && (n.Sel.Name == "Open" || n.Sel.Name == "OpenDB")
		}
		return true
	})
	return yes
}

// takes names the engine that fn takes the custody for.
func takes(fn *ast.FuncDecl) (engine string) {
	ast.Inspect(fn, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		f, ok1 := call.Fun.(*ast.SelectorExpr)
		arg, ok2 := call.Args[0].(*ast.SelectorExpr)
		if ok1 && ok2 && isPkg(f, "custody") && f.Sel.Name == "Take" && isPkg(arg, "custody") {
			engine = arg.Sel.Name
		}
		return true
	})
	return engine
}
