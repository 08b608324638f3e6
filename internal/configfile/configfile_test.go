package configfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firebreak-dev/firebreak/internal/configfile"
)

type sample struct {
	Region string   `toml:"region" doc:"name"`
	Seeds  []string `toml:"seeds"`
	Port   int      `toml:"port"`
	TLS    struct {
		Cert string `toml:"cert"`
	} `toml:"tls"`
}

func TestDecodeNamesTheLineAndTheFix(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "region = \"iad\"\nregoin = \"iad\"\n", `f.toml:2:1: regoin: unknown key; did you mean "region"?`},
		{"unknown key far from any", "colour = 1\n", `f.toml:1:1: colour: unknown key`},
		{"unknown key in a table", "[tls]\ncrt = \"x\"\n", `f.toml:2:1: tls.crt: unknown key; did you mean "tls.cert"?`},
		{"key outside its table", "cert = \"x\"\n", `f.toml:1:1: cert: unknown key; did you mean "tls.cert"?`},
		{"two unknown keys", "regoin = \"a\"\nsedes = []\n", "f.toml:1:1: regoin: unknown key; did you mean \"region\"?\nf.toml:2:1: sedes: unknown key; did you mean \"seeds\"?"},
		{"wrong type", "\nport = \"80\"\n", `f.toml:2:8: port: want an integer`},
		{"wrong type of a list", "seeds = \"a\"\n", `f.toml:1:9: seeds: want a list of strings`},
		{"wrong type in a list", "seeds = [1]\n", `f.toml:1:10: seeds: want a list of strings`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sample
			err := configfile.Decode("f.toml", []byte(c.text), &s)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestDecodeNamesTheLineOfBrokenSyntax(t *testing.T) {
	for _, text := range []string{"region = \n", "region = \"iad\nx", "= 1", "[tls\n", "region = \"a\"\nregion = \"b\"\n"} {
		var s sample
		err := configfile.Decode("f.toml", []byte(text), &s)
		var problems configfile.Problems
		if !errors.As(err, &problems) || problems[0].Line == 0 || strings.Contains(err.Error(), "toml:") && !strings.Contains(err.Error(), "f.toml:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReadRefusesAHugeFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(file, []byte(strings.Repeat("#\n", configfile.MaxSize)), 0o644); err != nil {
		t.Fatal(err)
	}
	var s sample
	for _, huge := range []string{file, "/dev/zero"} {
		if _, err := configfile.Read(huge, &s); err == nil || !strings.Contains(err.Error(), "over the limit") {
			t.Errorf("%s: %v", huge, err)
		}
	}
}

func TestLocateFindsKeysInTablesAndOutside(t *testing.T) {
	text := "region = \"x\"\ntls.cert = 1\n[other]\n  port = 3\n"
	got := configfile.Locate("f.toml", []byte(text), []configfile.Problem{
		{Key: "other.port", Text: "bad"}, {Key: "tls.cert", Text: "bad"}, {Key: "region", Text: "bad"}, {Key: "seeds", Text: "missing"},
	})
	const want = "f.toml: seeds: missing\nf.toml:1:1: region: bad\nf.toml:2:1: tls.cert: bad\nf.toml:4:3: other.port: bad"
	if got.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("region = \"iad\"\n[tls]\ncert = \"x\"\n"))
	f.Add([]byte("tls.cert.x = 1"))
	f.Add([]byte("[[seeds]]\nport=1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		if err := configfile.Decode("f", data, &s); err != nil && err.Error() == "" {
			t.Error("an error without text")
		}
		configfile.Locate("f", data, []configfile.Problem{{Key: "region", Text: "x"}})
	})
}
