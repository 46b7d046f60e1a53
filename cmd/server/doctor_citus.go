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

// checkCitus checks on a coordinator of Citus that a transaction cannot be committed on a
// worker without its evidence (docs/scale.md).
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
	return nil
}
