package cli

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firebreak-dev/firebreak/cmd/firebreak/cell"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/devfile"
	"github.com/firebreak-dev/firebreak/cmd/firebreak/shell"
)

func document(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryCommandAndFlagIsDocumented(t *testing.T) {
	doc := document(t)
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() {
			if !strings.Contains(doc, "`"+c.CommandPath()) {
				t.Errorf("%s is not documented", c.CommandPath())
			}
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				if f.Name != "help" && !strings.Contains(doc, "--"+f.Name) {
					t.Errorf("%s --%s is not documented", c.CommandPath(), f.Name)
				}
			})
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&env{format: formatTable}).root(nil))
}

func TestEveryKeyOfTheJSONIsDocumented(t *testing.T) {
	doc := document(t)
	for _, v := range []any{
		nodeStatus{}, found{}, whereAnswer{}, queryAnswer{}, coverage{}, machine{}, Derived{}, written{}, event{}, waitAnswer{}, withheldCells{}, verified{},
		schemaPlan{}, schemaStatus{}, schemaChange{}, executed{}, queryEvent{}, shell.Printed{}, imported{},
		devfile.Dev{}, devfile.Node{},
	} {
		for _, key := range jsonKeys(reflect.TypeOf(v)) {
			if !strings.Contains(doc, "`"+key+"`") && !strings.Contains(doc, `"`+key+`"`) {
				t.Errorf("%T: key %s is not documented", v, key)
			}
		}
	}
}

// jsonKeys lists the keys of a struct and of the structs in it.
func jsonKeys(typ reflect.Type) []string {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[cell.Value]() {
		return nil
	}
	var out []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		if key, _, _ := strings.Cut(f.Tag.Get("json"), ","); key != "" {
			out = append(out, key)
		}
		out = append(out, jsonKeys(f.Type)...)
	}
	return out
}
