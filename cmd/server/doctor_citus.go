package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// evidence are the tables whose rows prove that a transaction took effect.
var evidence = []string{"commit_markers", "idempotency_keys", "import_checkpoints"}

// localEvidence selects those of them that are local tables of the coordinator.
const localEvidence = `
	SELECT c.oid::regclass::text
	FROM pg_class AS c
	LEFT JOIN pg_dist_partition AS p ON p.logicalrelid = c.oid
	WHERE c.oid = ANY (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)
	  -- A table that Citus manages and did not distribute has neither hash nor replicas.
	  AND (p.logicalrelid IS NULL OR p.partmethod = 'n' AND p.repmodel <> 't')
	ORDER BY 1`

// citusStatistics reports whether the statistics are those of the tables that Citus distributes,
// on which no trigger counts: whether the view of the unfolded posts reads posts.
const citusStatistics = `
	SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass('posts')) IS FALSE
	    OR EXISTS (
		SELECT FROM pg_rewrite AS r
		JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refobjid = to_regclass('posts')
		WHERE r.ev_class = to_regclass('unfolded_posts'))`

// checkCitus checks on a coordinator of Citus that a transaction cannot be committed on a
// worker without its evidence, and that statistics count all rows (docs/scale.md).
func (x *report) checkCitus(ctx context.Context, router *postgres.Router) error {
	var distributed bool
	err := router.Pool().QueryRow(ctx, "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL").Scan(&distributed)
	if err != nil {
		return fmt.Errorf("look for Citus: %w", err)
	}
	if !distributed {
		return nil
	}
	if err := router.Pool().QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_dist_partition)").Scan(&distributed); err != nil {
		return fmt.Errorf("look for distributed tables: %w", err)
	}
	if !distributed {
		return nil
	}
	x.fact("Citus", "distributes tables: the plans of their statements are not checked")
	rows, err := router.Pool().Query(ctx, localEvidence, evidence)
	if err != nil {
		return fmt.Errorf("look for local tables: %w", err)
	}
	local, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for local tables: %w", err)
	}
	for _, table := range local {
		x.wrong("table %s is local: a worker can commit a transaction whose row here is then rolled back, so a repeated write takes effect twice: SELECT create_reference_table('%s')", table, table)
	}
	var counted bool
	if err := router.Pool().QueryRow(ctx, citusStatistics).Scan(&counted); err != nil {
		return fmt.Errorf("look for the views of the statistics: %w", err)
	}
	if !counted {
		x.wrong("statistics omit posts: a migration has replaced the view unfolded_posts, and no trigger counts distributed tables: run deploy/citus.sql again")
	}
	return nil
}
