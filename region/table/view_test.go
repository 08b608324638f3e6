package table_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/mattn/go-sqlite3"

	"github.com/firebreak-dev/firebreak/internal/fleet"
	"github.com/firebreak-dev/firebreak/internal/fleet/claim"
	"github.com/firebreak-dev/firebreak/region/table"
)

const home = fleet.Region("iad")

func openTables(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	for _, tab := range table.All() {
		exec(t, db, tab.SQL())
	}
	for _, v := range table.Views(home) {
		exec(t, db, v)
	}
	return db
}

func exec(t testing.TB, db *sql.DB, stmt string, args ...any) {
	t.Helper()
	if _, err := db.Exec(stmt, args...); err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
}

func insertMachine(t testing.TB, db *sql.DB, m table.Machine) {
	t.Helper()
	var args []any
	for _, v := range m.Row() {
		args = append(args, v.Any())
	}
	exec(t, db, `INSERT INTO fleet_machines VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)`, args...)
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// The view and package claim are two ways to say one thing.
func TestViewEqualsClaimJudge(t *testing.T) {
	const rounds, ids = 60, 60
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	db := openTables(t)
	hidden, shown := 0, 0
	for range rounds {
		exec(t, db, `DELETE FROM fleet_machines`)
		exec(t, db, `DELETE FROM fleet_reclaims`)
		var want []string
		for i := range ids {
			id := fleet.MachineID(fmt.Sprintf("m%d", i))
			rows, reclaims := randomClaims(rng, id)
			for _, m := range rows {
				insertMachine(t, db, m)
			}
			for _, c := range reclaims {
				exec(t, db, `INSERT INTO fleet_reclaims (id, epoch, owner) VALUES (?,?,?)`, string(c.ID), int64(c.Epoch), string(c.Owner))
			}
			var claims []claim.Row
			for _, m := range rows {
				claims = append(claims, m.Claim(home))
			}
			for _, v := range claim.Judge(claims, reclaims) {
				switch {
				case v.Current:
					shown++
					want = append(want, string(v.Row.Place.Worker)+" "+string(id))
				case v.Row.Claim():
					hidden++
				}
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, current(t, db)); diff != "" {
			t.Fatalf("seed %d: current (-claim +view):\n%s", seed, diff)
		}
	}
	if hidden < rounds || shown < rounds {
		t.Errorf("%d claims hidden and %d shown: too few to compare", hidden, shown)
	}
}

func randomClaims(rng *rand.Rand, id fleet.MachineID) ([]table.Machine, []claim.Reclaim) {
	workers := []fleet.Worker{"a", "b", "c"}
	var rows []table.Machine
	for _, w := range workers {
		if rng.IntN(4) == 0 {
			continue
		}
		m := table.Machine{
			Worker: w, ID: id, App: "web", Epoch: rng.Uint64N(5),
			State: claim.State(rng.IntN(int(claim.Ended) + 1)), Why: claim.Why(rng.IntN(int(claim.Yielded) + 1)),
		}
		if rng.IntN(2) == 0 {
			m.State = claim.Moved
		}
		if rng.IntN(3) > 0 {
			m.Grant, m.MovedTo = rng.Uint64N(6), pick(rng, "iad/a", "iad/b", "ams/c", "")
		}
		rows = append(rows, m)
	}
	if rng.IntN(3) > 0 {
		return rows, nil
	}
	return rows, []claim.Reclaim{{Region: home, ID: id, Epoch: rng.Uint64N(5), Owner: pick(rng, "a", "b", "c", fleet.Worker("z"))}}
}

func current(t *testing.T, db *sql.DB) []string {
	t.Helper()
	rows, err := db.Query(`SELECT worker, id FROM fleet_current`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var worker, id string
		if err := rows.Scan(&worker, &id); err != nil {
			t.Fatal(err)
		}
		out = append(out, worker+" "+id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}
