package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// invalidIndexes selects the indexes that PostgreSQL maintains but does not use,
// because building them failed (PostgreSQL manual, CREATE INDEX). It omits an index
// that is being built, which pg_stat_progress_create_index shows. If the role may
// not see the progress of other sessions, such an index is reported wrongly.
const invalidIndexes = `
	SELECT i.indexrelid::regclass::text AS index, i.indrelid::regclass::text AS table, c.relname::text AS name,
	       c.relkind = 'I' AS partitioned
	FROM pg_index AS i
	JOIN pg_class AS c ON c.oid = i.indexrelid
	WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
	  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid OR p.relid = i.indrelid)
	ORDER BY 1`

type invalidIndex struct {
	Index, Table, Name string
	Partitioned        bool
}

// checkIndexes lists the INVALID indexes.
func (x *report) checkIndexes(ctx context.Context, router *postgres.Router) error {
	rows, err := router.Pool().Query(ctx, invalidIndexes)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[invalidIndex])
	if err != nil {
		return fmt.Errorf("check the indexes: %w", err)
	}
	for _, i := range list {
		x.wrong("index %s on %s is INVALID: it slows down writes and no statement can use it: %s", i.Index, i.Table, i.hint())
	}
	return nil
}

func (i invalidIndex) hint() string {
	switch {
	case strings.Contains(i.Name, "_ccnew") || strings.Contains(i.Name, "_ccold"):
		return "a failed REINDEX CONCURRENTLY left it: DROP INDEX CONCURRENTLY " + i.Index
	case i.Partitioned:
		return "a partition has no index attached to it: create one there, then ALTER INDEX " + i.Index + " ATTACH PARTITION"
	}
	return "CREATE INDEX CONCURRENTLY failed, for example on duplicates: remove the cause, then REINDEX INDEX CONCURRENTLY " + i.Index +
		", or DROP INDEX CONCURRENTLY " + i.Index + " if it is not needed"
}
