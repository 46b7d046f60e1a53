package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// invalidIndexes are those that PostgreSQL maintains and does not use, because
// building them failed (PostgreSQL manual, CREATE INDEX). One that is being built
// is left out: the progress view shows it. A role that may not see the progress of
// others sees no row for it, and the index may then be reported in vain.
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

// checkIndexes names the indexes that are INVALID.
func (x *report) checkIndexes(ctx context.Context, router *postgres.Router) error {
	rows, err := router.Pool().Query(ctx, invalidIndexes)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[invalidIndex])
	if err != nil {
		return fmt.Errorf("look at the indexes: %w", err)
	}
	for _, i := range list {
		x.wrong("index %s on %s is INVALID: it costs each write and serves no statement: %s", i.Index, i.Table, i.hint())
	}
	return nil
}

func (i invalidIndex) hint() string {
	switch {
	case strings.Contains(i.Name, "_ccnew") || strings.Contains(i.Name, "_ccold"):
		return "REINDEX CONCURRENTLY left it: DROP INDEX CONCURRENTLY " + i.Index
	case i.Partitioned:
		return "some partition has no index that is attached to it: create it there, and ALTER INDEX " + i.Index + " ATTACH PARTITION"
	}
	return "CREATE INDEX CONCURRENTLY failed, such as on duplicates: remove what it failed on, and REINDEX INDEX CONCURRENTLY " + i.Index +
		", or DROP INDEX CONCURRENTLY " + i.Index + " if it is not needed"
}
