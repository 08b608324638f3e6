package archtest

import (
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// pure lists the packages whose behaviour depends on their arguments alone:
// the proof of containment runs on them. A name that does not exist fails, so
// that a core which moves does not slip out.
var pure = []string{
	"internal/hlc",
	"internal/record",
	"internal/schema",
	"internal/schema/definition",
	"internal/schema/plan",
	"internal/sqltext",
	"internal/varint",
	"internal/fleet",
	"internal/fleet/claim",
	"internal/fleet/presence",
	"internal/fleet/coverage",
	"internal/replica",
	"region/report",
	"global/directory",
	"router/directory",
	"router/plan",
	"router/join",
	"router/position",
	"router/catalog/core",
}

// impure imports bring goroutines, clocks, randomness, I/O or logs.
var impure = []string{
	"os", "io/fs", "net", "net/http", "context", "sync", "sync/atomic", "log", "log/slog", "math/rand", "math/rand/v2",
	"crypto/rand", "database/sql", "os/exec", "syscall", "runtime", "testing/synctest", "google.golang.org/grpc",
}

var clockFuncs = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

func TestPureCoresStayPure(t *testing.T) {
	pkgs := packages(t)
	for _, path := range pure {
		i := slices.IndexFunc(pkgs, func(p pkg) bool { return p.path() == path })
		if i < 0 {
			t.Errorf("%s is listed as pure and does not exist", path)
			continue
		}
		t.Run(path, func(t *testing.T) { checkPure(t, pkgs[i]) })
	}
}

func checkPure(t *testing.T, p pkg) {
	for _, imp := range p.Imports {
		if slices.Contains(impure, imp) {
			t.Errorf("imports %s", imp)
		}
	}
	for _, imp := range p.imports() {
		if !slices.Contains(pure, imp) && !within(imp, "proto") {
			t.Errorf("imports %s, which is not pure", imp)
		}
	}
	fset, files := p.files(t)
	info := typeCheck(t, p, fset, files)
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%v: go statement", fset.Position(n.Pos()))
			case *ast.ChanType:
				t.Errorf("%v: channel", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if isPkg(n, "time") && slices.Contains(clockFuncs, n.Sel.Name) {
					t.Errorf("%v: time.%s", fset.Position(n.Pos()), n.Sel.Name)
				}
			case *ast.RangeStmt:
				if tv, ok := info.Types[n.X]; ok {
					if _, isMap := tv.Type.Underlying().(*types.Map); isMap {
						t.Errorf("%v: ranges over a map: its order is not fixed", fset.Position(n.Pos()))
					}
				}
			}
			return true
		})
	}
}

// exported finds the compiled interface of each package that the pure ones
// depend on.
func exported(t *testing.T) func(path string) (io.ReadCloser, error) {
	t.Helper()
	files, err := exports()
	if err != nil {
		t.Fatalf("go list -export: %v", err)
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

var exports = sync.OnceValues(func() (map[string]string, error) {
	args := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}
	for _, path := range pure {
		args = append(args, module+"/"+path)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return files, nil
})

func typeCheck(t *testing.T, p pkg, fset *token.FileSet, files []*ast.File) *types.Info {
	t.Helper()
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", exported(t))}
	if _, err := conf.Check(p.ImportPath, fset, files, info); err != nil {
		t.Fatalf("type check: %v", err)
	}
	return info
}

// What users embed must be usable from outside the module.
func TestCatalogShowsNoInternalType(t *testing.T) {
	pkgs := packages(t)
	i := slices.IndexFunc(pkgs, func(p pkg) bool { return p.path() == "router/catalog" })
	if i < 0 {
		t.Fatal("router/catalog does not exist")
	}
	fset, files := pkgs[i].files(t)
	for _, f := range files {
		internal := map[string]bool{}
		for _, imp := range f.Imports {
			path := strings.Trim(imp.Path.Value, `"`)
			if !strings.Contains(path, "/internal/") {
				continue
			}
			name := path[strings.LastIndex(path, "/")+1:]
			if imp.Name != nil {
				name = imp.Name.Name
			}
			internal[name] = true
		}
		for _, decl := range f.Decls {
			for _, expr := range exportedTypes(decl) {
				ast.Inspect(expr, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok {
						if id, ok := sel.X.(*ast.Ident); ok && internal[id.Name] {
							t.Errorf("%v: exported API uses %s.%s", fset.Position(n.Pos()), id.Name, sel.Sel.Name)
						}
					}
					return true
				})
			}
		}
	}
}

// exportedTypes returns the type expressions that decl shows to importers.
func exportedTypes(decl ast.Decl) []ast.Node {
	var out []ast.Node
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || exportedReceiver(d.Recv)) {
			out = append(out, d.Type)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					out = append(out, exportedParts(s.Type)...)
				}
			case *ast.ValueSpec:
				if s.Type != nil && slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
					out = append(out, s.Type)
				}
			}
		}
	}
	return out
}

func exportedReceiver(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

func exportedParts(typ ast.Expr) []ast.Node {
	st, ok := typ.(*ast.StructType)
	if !ok {
		return []ast.Node{typ}
	}
	var out []ast.Node
	for _, f := range st.Fields.List {
		if len(f.Names) == 0 || slices.ContainsFunc(f.Names, (*ast.Ident).IsExported) {
			out = append(out, f.Type)
		}
	}
	return out
}
