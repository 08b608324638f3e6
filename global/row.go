package global

import (
	"encoding/json"
	"fmt"

	"github.com/firebreak-dev/firebreak/global/directory"
	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/presence"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/store"
)

// A row's values stand in the order of its table in schema.go.

func presenceRow(r presence.Record) store.Row {
	return append(store.Row{
		record.Of(string(r.Region)), record.Of(string(r.App)), record.Of(int64(r.Class)), record.Of(r.Since),
	}, rankValues(r.Rank)...)
}

func rankValues(r presence.Rank) []record.Value {
	return []record.Value{
		record.Of(int64(r.Generation.Number)), record.Of(int64(r.Generation.Bits)), record.Of(int64(r.Stamp)), record.Of(string(r.Reporter)),
	}
}

// rankOf reads the four rank columns.
func rankOf(v []record.Value) presence.Rank {
	return presence.Rank{
		Generation: presence.Generation{Number: uint64(v[0].Int), Bits: uint64(v[1].Int)},
		Stamp:      uint64(v[2].Int), Reporter: fleet.Worker(v[3].Data),
	}
}

func rowWidth(row store.Row, want int) error {
	if len(row) != want {
		return fmt.Errorf("row of %d values, want %d", len(row), want)
	}
	return nil
}

// presenceOf reads a row. A row that is no valid report is an error: it came
// from another global node, and is left out.
func presenceOf(row store.Row) (presence.Record, error) {
	if err := rowWidth(row, 8); err != nil {
		return presence.Record{}, err
	}
	r := presence.Record{
		Region: fleet.Region(row[0].Data), App: fleet.App(row[1].Data),
		Class: presence.Class(min(uint64(row[2].Int), uint64(presence.MaxClass)+1)), Since: row[3].Int, Rank: rankOf(row[4:]),
	}
	return r, r.Check()
}

// gatewayJSON is one gateway in the column gateways.
type gatewayJSON struct {
	Node    fleet.Worker `json:"node"`
	Address string       `json:"address"`
}

func regionRow(r presence.Region) (store.Row, error) {
	list := make([]gatewayJSON, len(r.Gateways))
	for i, g := range r.Gateways {
		list[i] = gatewayJSON(g)
	}
	gateways, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encode gateways: %w", err)
	}
	return append(store.Row{
		record.Of(string(r.Name)), record.Of(string(gateways)), record.Of(r.Locality), record.Of(int64(r.SchemaHash)),
	}, rankValues(r.Rank)...), nil
}

func regionOf(row store.Row) (presence.Region, error) {
	if err := rowWidth(row, 8); err != nil {
		return presence.Region{}, err
	}
	var list []gatewayJSON
	if err := json.Unmarshal([]byte(row[1].Data), &list); err != nil {
		return presence.Region{}, fmt.Errorf("gateways: %w", err)
	}
	r := presence.Region{
		Name: fleet.Region(row[0].Data), Locality: row[2].Data, SchemaHash: uint64(row[3].Int), Rank: rankOf(row[4:]),
	}
	for _, g := range list {
		r.Gateways = append(r.Gateways, presence.Gateway(g))
	}
	return r, r.Check()
}

func overrideOf(row store.Row) (directory.Override, error) {
	if err := rowWidth(row, 4); err != nil {
		return directory.Override{}, err
	}
	return directory.Override{Number: row[1].Int, Until: row[2].Int, Who: row[3].Data}, nil
}

func generationRow(region fleet.Region, g presence.Generation) store.Row {
	return store.Row{record.Of(string(region)), record.Of(int64(g.Number)), record.Of(int64(g.Bits))}
}

func generationOf(row store.Row) (fleet.Region, presence.Generation, error) {
	if err := rowWidth(row, 3); err != nil {
		return "", presence.Generation{}, err
	}
	region := fleet.Region(row[0].Data)
	return region, presence.Generation{Number: uint64(row[1].Int), Bits: uint64(row[2].Int)}, region.Check()
}
