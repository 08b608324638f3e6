// Package table is a region's built-in tables: their definitions, the view of
// current claims, and the rows as Go values. The tables' names begin with
// fleet_. SQL reads them; only the API of their own worker's node writes them.
//
// docs/reference/tables.md describes each column.
package table

import (
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/schema"
)

// The names of the built-in tables and of the view.
const (
	Machines = "fleet_machines"
	Health   = "fleet_health"
	Workers  = "fleet_workers"
	Probe    = "fleet_probe"
	Reclaims = "fleet_reclaims"
	Evicted  = "fleet_evicted"
	Current  = "fleet_current"
)

// All returns the built-in tables, with their ids.
func All() []schema.Table {
	out := []schema.Table{machines(), health(), workers(), probe(), reclaims(), evicted()}
	for i := range out {
		out[i] = out[i].WithIDs()
	}
	return out
}

func machines() schema.Table {
	return schema.Table{
		Name: Machines, Kind: record.Owned,
		Key: []schema.Column{text("worker"), text("id")},
		Columns: []schema.Column{
			text("app"),
			text("state"),
			textOr("why", ""),
			textOr("services", "[]"),
			textOr("addresses", "[]"),
			textOr("image", ""),
			textOr("resources", ""),
			textOr("metadata", ""),
			integerOr("epoch", 1),
			integerOr("grant", 0),
			textOr("moved_to", ""),
		},
		Checks: schema.Checks(
			`typeof("epoch") = 'integer' AND "epoch" >= 0`,
			`typeof("grant") = 'integer' AND "grant" >= 0`,
		),
	}
}

func health() schema.Table {
	return schema.Table{
		Name: Health, Kind: record.Owned,
		Key:     []schema.Column{text("worker"), text("id")},
		Columns: []schema.Column{text("status"), integerOr("since", 0)},
	}
}

func workers() schema.Table {
	return schema.Table{
		Name: Workers, Kind: record.Owned,
		Key: []schema.Column{text("worker")},
		Columns: []schema.Column{
			textOr("locality", ""),
			textOr("addresses", "[]"),
			textOr("capacity", ""),
			textOr("state", WorkerActive),
			textOr("gateway", ""),
		},
	}
}

func probe() schema.Table {
	return schema.Table{
		Name: Probe, Kind: record.Owned,
		Key:     []schema.Column{text("worker")},
		Columns: []schema.Column{integerOr("at", 0)},
	}
}

func reclaims() schema.Table {
	return schema.Table{
		Name: Reclaims, Kind: record.Ranked,
		Key:     []schema.Column{text("id")},
		Columns: []schema.Column{integer("epoch"), text("owner"), textOr("who", ""), textOr("why", "")},
		RankBy:  []string{"epoch"},
		Checks:  schema.Checks(`typeof("epoch") = 'integer' AND "epoch" >= 0`),
	}
}

func evicted() schema.Table {
	return schema.Table{
		Name: Evicted, Kind: record.Ranked,
		Key:     []schema.Column{text("worker")},
		Columns: []schema.Column{integer("boot"), textOr("who", "")},
		RankBy:  []string{"boot"},
		Evicts:  true,
	}
}

func text(name string) schema.Column {
	return schema.Column{Name: name, Type: "TEXT", NotNull: true}
}

func textOr(name, def string) schema.Column {
	return schema.Column{Name: name, Type: "TEXT", NotNull: true, Default: record.Of(def)}
}

func integer(name string) schema.Column {
	return schema.Column{Name: name, Type: "INTEGER", NotNull: true}
}

func integerOr(name string, def int64) schema.Column {
	return schema.Column{Name: name, Type: "INTEGER", NotNull: true, Default: record.Of(def)}
}
