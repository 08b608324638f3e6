package identity

import (
	"errors"
	"strings"
	"testing"
)

// The exact URIs: certificates in the field carry them.
var golden = []struct {
	uri     string
	id      ID
	cluster string
}{
	{"spiffe://acme/region/iad/node/w1", ID{"acme", Node, "iad", "w1"}, "region/iad"},
	{"spiffe://acme/region/iad/gateway/w1", ID{"acme", Gateway, "iad", "w1"}, "region/iad"},
	{"spiffe://acme/global/node/g1", ID{"acme", Global, "", "g1"}, "global"},
	{"spiffe://acme/router/r1", ID{"acme", Router, "", "r1"}, ""},
	{"spiffe://acme/operator/ann", ID{"acme", Operator, "", "ann"}, ""},
	{"spiffe://acme/client/proxy-7", ID{"acme", Client, "", "proxy-7"}, ""},
}

func TestURIsAreTheDocumentedOnes(t *testing.T) {
	for _, g := range golden {
		if got := g.id.String(); got != g.uri {
			t.Errorf("String of %+v = %s, want %s", g.id, got, g.uri)
		}
		got, err := Parse(g.uri)
		if err != nil || got != g.id {
			t.Errorf("Parse(%s) = %+v, %v; want %+v", g.uri, got, err, g.id)
		}
		if got := g.id.Cluster(); got != g.cluster {
			t.Errorf("Cluster of %s = %q, want %q", g.uri, got, g.cluster)
		}
	}
}

func TestOddURIsAreRefused(t *testing.T) {
	for _, uri := range []string{
		"", "spiffe://", "spiffe:///region/iad/node/w1", "https://acme/region/iad/node/w1",
		"SPIFFE://acme/region/iad/node/w1",
		"spiffe://acme", "spiffe://acme/", "spiffe://acme/region/iad", "spiffe://acme/region/iad/node",
		"spiffe://acme/region/iad/node/", "spiffe://acme/region/iad/node/w1/", "spiffe://acme//region/iad/node/w1",
		"spiffe://acme/region/iad/node/w1/x", "spiffe://acme/region/iad/router/w1", "spiffe://acme/region//node/w1",
		"spiffe://acme/region/global/node/w1", "spiffe://acme/region/router/node/w1",
		"spiffe://acme/global/gateway/g1", "spiffe://acme/global/g1", "spiffe://acme/router/node/r1",
		"spiffe://ACME/router/r1", "spiffe://acme:443/router/r1", "spiffe://u@acme/router/r1",
		"spiffe://acme/router/r1?x=y", "spiffe://acme/router/r1#f", "spiffe://acme/router/r%31",
		"spiffe://acme/router/../router/r1", "spiffe://acme/router/.", "spiffe://acme/router/-a",
		"spiffe://acme/router/" + strings.Repeat("a", 64), "spiffe://" + strings.Repeat("f", 33) + "/router/r1",
		"spiffe://acme/admin/a", "spiffe://acme/router/r1\n",
	} {
		if id, err := Parse(uri); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", uri, id)
		}
	}
}

func TestAcceptFunctionsNameWhatIsWrong(t *testing.T) {
	node := ID{"acme", Node, "iad", "w1"}
	global := ID{"acme", Global, "", "g1"}
	router := ID{"acme", Router, "", "r1"}
	for _, c := range []struct {
		name   string
		accept func(ID) error
		id     ID
		want   string // part of the error, empty for none
	}{
		{"member", SameCluster("acme", "region/iad"), node, ""},
		{"gateway is a member", SameCluster("acme", "region/iad"), ID{"acme", Gateway, "iad", "w1"}, ""},
		{"global member", SameCluster("acme", "global"), global, ""},
		{"other region", SameCluster("acme", "region/ams"), node, `"region/iad", want "region/ams"`},
		{"other level", SameCluster("acme", "global"), node, `"region/iad", want "global"`},
		{"other level, down", SameCluster("acme", "region/iad"), global, `"global", want "region/iad"`},
		{"no member", SameCluster("acme", "region/iad"), router, "role router is a member of no cluster"},
		{"other fleet", SameCluster("emca", "region/iad"), node, `fleet "acme", want "emca"`},
		{"role", HasRole("acme", Router, Global), router, ""},
		{"other role", HasRole("acme", Router, Global), node, "role node, want router or global"},
		{"role of other fleet", HasRole("emca", Router), router, "fleet"},
		{"region", InRegion("acme", "iad", Gateway, Node), node, ""},
		{"role in other region", InRegion("acme", "ams", Node), node, `region "iad", want "ams"`},
		{"other role in region", InRegion("acme", "iad", Gateway), node, "role node, want gateway"},
		{"name", Named("w1", SameCluster("acme", "region/iad")), node, ""},
		{"other name", Named("w2", SameCluster("acme", "region/iad")), node, `name "w1", want "w2"`},
	} {
		err := c.accept(c.id)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzParseAcceptsOnlyWhatStringGives(f *testing.F) {
	for _, g := range golden {
		f.Add(g.uri)
	}
	f.Add("spiffe://acme/region/iad/node/w1/")
	f.Fuzz(func(t *testing.T, uri string) {
		id, err := Parse(uri)
		if err != nil {
			return
		}
		if id.String() != uri {
			t.Fatalf("Parse(%q) = %+v, whose URI is %q", uri, id, id)
		}
		if err := id.Check(); err != nil {
			t.Fatal(errors.Join(errors.New("parsed an identity that breaks the rules"), err))
		}
	})
}
