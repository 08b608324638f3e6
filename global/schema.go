package global

import (
	"fmt"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// The tables of a global node. All are ranked: rows are outranked, never
// deleted. Nothing else is replicated here.
const (
	tablePresence    = "fleet_presence"
	tableRegions     = "fleet_regions"
	tableDrains      = "fleet_drains"
	tableReleases    = "fleet_releases"
	tableGenerations = "fleet_generations"
)

func text(name string) schema.Column { return schema.Column{Name: name, Type: "TEXT", NotNull: true} }

func integer(name string) schema.Column {
	return schema.Column{Name: name, Type: "INTEGER", NotNull: true, Default: record.Of(0)}
}

// laneTables are the tables of one region's lane. Their checks refuse, at every
// global node, a row of another region and what is no report, so that a bad
// ingress node spoils nothing: such a record is withheld.
func laneTables(region fleet.Region) []schema.Table {
	subject := fmt.Sprintf("region = '%s'", region)
	rank := []string{"generation_number", "generation_bits", "stamp", "reporter"}
	ranks := []schema.Column{integer("generation_number"), integer("generation_bits"), integer("stamp"), text("reporter")}
	return []schema.Table{
		schema.Table{
			Name: tablePresence, Kind: record.Ranked, Key: []schema.Column{text("region"), text("app")},
			Columns: append([]schema.Column{integer("class"), integer("since")}, ranks...), RankBy: rank,
			Checks: schema.Checks(subject,
				fmt.Sprintf("length(CAST(app AS BLOB)) BETWEEN 1 AND %d", fleet.MaxAppName),
				fmt.Sprintf("class BETWEEN 0 AND %d", presence.MaxClass),
				"(class = 0) = (since > 0)", checkReporter),
		}.WithIDs(),
		schema.Table{
			Name: tableRegions, Kind: record.Ranked, Key: []schema.Column{text("region")},
			Columns: append([]schema.Column{text("gateways"), text("locality"), integer("schema_hash")}, ranks...), RankBy: rank,
			Checks: schema.Checks(subject,
				fmt.Sprintf("length(CAST(gateways AS BLOB)) <= %d", maxGatewaysText),
				fmt.Sprintf("length(CAST(locality AS BLOB)) <= %d", fleet.MaxRegionName), checkReporter),
		}.WithIDs(),
		overrideTable(tableDrains, subject),
		overrideTable(tableReleases, subject),
	}
}

var checkReporter = fmt.Sprintf("length(CAST(reporter AS BLOB)) BETWEEN 1 AND %d", fleet.MaxNodeName)

// maxGatewaysText bounds the gateways of a region record, as JSON.
const maxGatewaysText = presence.MaxGateways * (len(`{"node":"","address":""},`) + fleet.MaxNodeName + presence.MaxAddress)

// overrideTable is one of an operator's words on a region.
func overrideTable(name, subject string) schema.Table {
	return schema.Table{
		Name: name, Kind: record.Ranked, Key: []schema.Column{text("region")},
		Columns: []schema.Column{integer("number"), integer("until"), text("who")}, RankBy: []string{"number"},
		Checks: schema.Checks(subject, "length(CAST(who AS BLOB)) <= 256"),
	}.WithIDs()
}

// listTables are the tables of the list of regions.
func listTables() []schema.Table {
	return []schema.Table{schema.Table{
		Name: tableGenerations, Kind: record.Ranked, Key: []schema.Column{text("region")},
		Columns: []schema.Column{integer("number"), integer("bits")}, RankBy: []string{"number", "bits"},
		Checks: schema.Checks(fmt.Sprintf("length(CAST(region AS BLOB)) BETWEEN 1 AND %d", fleet.MaxRegionName), "number > 0"),
	}.WithIDs()}
}
