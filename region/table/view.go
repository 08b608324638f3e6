package table

import (
	"strings"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// Views returns the view fleet_current of a region: the rows of fleet_machines
// that claim.Judge shows among those of the region. It is plain SQL that any
// SQLite from 3.40 reads, and a differential test holds the two equal.
//
// A row that stands under no grant, which is nearly all of them, costs one
// lookup in fleet_reclaims; each other one costs a lookup per worker.
func Views(region fleet.Region) []string {
	return []string{strings.ReplaceAll(currentView, "$region", string(region))}
}

// In the view w lists the workers (each found by one step in the key), m is the claim, c the reclaim of its id, o the row that may hide
// it. The lowest grant that m stands under is that of its own move (at least
// one above its epoch) or of the reclaim.
const currentView = `CREATE VIEW "fleet_current" AS
WITH RECURSIVE w("worker") AS (
  SELECT min("worker") FROM "fleet_machines"
  UNION ALL
  SELECT (SELECT min(n."worker") FROM "fleet_machines" AS n WHERE n."worker" > w."worker") FROM w WHERE w."worker" IS NOT NULL
)
SELECT m.* FROM "fleet_machines" AS m
LEFT JOIN "fleet_reclaims" AS c ON c."id" = m."id" AND c."epoch" > 0
WHERE m."state" <> 'ended' AND NOT (
  (m."state" = 'moved' OR (c."id" IS NOT NULL AND c."owner" <> m."worker" AND m."epoch" <= c."epoch"))
  AND NOT (c."id" IS NOT NULL AND c."owner" = m."worker" AND m."epoch" <= c."epoch")
  AND EXISTS (
    SELECT 1 FROM w CROSS JOIN "fleet_machines" AS o
    WHERE o."worker" = w."worker" AND o."id" = m."id" AND o."worker" <> m."worker"
      AND o."epoch" >= min(
        CASE WHEN m."state" = 'moved' THEN max(m."grant", m."epoch" + 1) ELSE c."epoch" END,
        CASE WHEN c."id" IS NOT NULL AND c."owner" <> m."worker" AND m."epoch" <= c."epoch" THEN c."epoch"
          ELSE max(m."grant", m."epoch" + 1) END)
      AND (
        (o."state" IN ('started', 'stopping', 'moved')
          AND NOT (c."id" IS NOT NULL AND c."owner" <> o."worker" AND o."epoch" <= c."epoch"))
        OR (o."state" = 'ended' AND (o."why" = 'destroyed'
          OR (o."why" = 'moved' AND o."moved_to" <> '' AND o."moved_to" <> '$region/' || m."worker"))))))`
