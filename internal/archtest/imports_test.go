package archtest

import (
	"slices"
	"testing"
)

// engine packages replicate rows and know no product noun.
var engine = []string{"internal/hlc", "internal/record", "internal/schema", "internal/replica", "internal/store", "internal/simnet", "internal/sim"}

func TestTiersNeverImportEachOther(t *testing.T) {
	tiers := []string{"region", "global", "router"}
	for _, p := range packages(t) {
		for _, tier := range tiers {
			if !within(p.path(), tier) {
				continue
			}
			for _, imp := range p.imports() {
				if anyWithin(imp, slices.DeleteFunc(slices.Clone(tiers), func(o string) bool { return o == tier })...) {
					t.Errorf("%s imports %s: tiers speak over proto and meet only in cmd/firebreak", p.path(), imp)
				}
			}
		}
	}
}

func TestInternalNeverImportsProduct(t *testing.T) {
	for _, p := range packages(t) {
		if !within(p.path(), "internal") {
			continue
		}
		for _, imp := range p.imports() {
			if anyWithin(imp, "region", "global", "router", "cmd") {
				t.Errorf("%s imports %s: internal is what the roles share", p.path(), imp)
			}
		}
	}
}

func TestEngineKnowsNoProductNounAndFleetNoEngine(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.imports() {
			if anyWithin(p.path(), engine...) && within(imp, "internal/fleet") {
				t.Errorf("%s imports %s: the engine knows no product noun", p.path(), imp)
			}
			if within(p.path(), "internal/fleet") && anyWithin(imp, engine...) {
				t.Errorf("%s imports %s: the product's rules know no engine", p.path(), imp)
			}
		}
	}
}

func TestOnlyTheStoreTouchesADatabase(t *testing.T) {
	drivers := []string{"github.com/mattn/go-sqlite3", "database/sql", "database/sql/driver", "modernc.org/sqlite"}
	for _, p := range packages(t) {
		if anyWithin(p.path(), "internal/store/sqlite", "cmd/bench") { // cmd/bench measures plain SQLite, on files of its own
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(drivers, imp) {
				t.Errorf("%s imports %s: one process owns a database file, through internal/store/sqlite alone", p.path(), imp)
			}
		}
	}
}

func TestProtoIsImportedByNoEnginePackage(t *testing.T) {
	for _, p := range packages(t) {
		if !anyWithin(p.path(), engine...) {
			continue
		}
		for _, imp := range p.imports() {
			if within(imp, "proto") {
				t.Errorf("%s imports %s: the engine's frames are its own", p.path(), imp)
			}
		}
	}
}
