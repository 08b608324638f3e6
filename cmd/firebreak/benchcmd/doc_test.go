package benchcmd

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestEveryLoadFlagAndKeyIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	for _, c := range Command().Commands() {
		if !strings.Contains(doc, "`firebreak bench "+c.Name()) {
			t.Errorf("bench %s is not documented", c.Name())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(doc, "`--"+f.Name) {
				t.Errorf("bench %s --%s is not documented", c.Name(), f.Name)
			}
		})
	}
	_, section, _ := strings.Cut(doc, "**bench**")
	for _, v := range []any{report{}, fault{}} {
		for i := range reflect.TypeOf(v).NumField() {
			key, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ",")
			if !strings.Contains(section, "`"+key+"`") {
				t.Errorf("key %s of the report is not documented", key)
			}
		}
	}
}
