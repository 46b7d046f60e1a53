package postgres

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// tables are the SQL names of the two tables that the runtime keeps in the application's
// database. Statements of the application must not use them.
type tables struct{ markers, histories pgx.Identifier }

// tables returns the tables of c, which must have its defaults.
func (c Config) tables() tables {
	return tables{markers: strings.Split(c.MarkerTable, "."), histories: strings.Split(c.HistoryTable, ".")}
}

// tableName matches a table name that needs no quotes, with or without a schema.
var tableName = regexp.MustCompile(`^([a-z_][a-z0-9_]*\.)?[a-z_][a-z0-9_]*$`)

// validateTables rejects other names, so that a mistake shows at the start.
func (c Config) validateTables() error {
	for _, table := range []struct{ field, name string }{{"Config.MarkerTable", c.MarkerTable}, {"Config.HistoryTable", c.HistoryTable}} {
		if !tableName.MatchString(table.name) {
			return fmt.Errorf("%s is %q: use lower-case letters, digits and underscores, with or without a schema, such as app.commit_markers",
				table.field, table.name)
		}
	}
	return nil
}

// markerKey returns the name of the marker table's primary key, by PostgreSQL's convention.
func (t tables) markerKey() string { return t.markers[len(t.markers)-1] + "_pkey" }

// createMarker adds the marker of a transaction. A second transaction with the same marker
// waits for the first, and violates the primary key if the first one committed.
func (t tables) createMarker() string {
	return "-- name: CreateCommitMarker :exec\nINSERT INTO " + t.markers.Sanitize() + " (id)\nVALUES ($1)"
}

// createMarkers adds the markers of several transactions that run as one.
func (t tables) createMarkers() string {
	return "-- name: CreateCommitMarkers :exec\nINSERT INTO " + t.markers.Sanitize() + " (id)\nSELECT unnest($1::uuid[])"
}

// sweepMarkers removes up to $1 markers that are older than an hour, which is far longer
// than a transaction is repeated. Rows locked by another sweep are skipped.
//
// An id begins with the milliseconds of the process that made it, so old markers are found
// without another index. The clock of that process may be slow, so created_at is the
// server's time.
func (t tables) sweepMarkers() string {
	return `-- name: DeleteCommitMarkers :execrows
DELETE FROM ` + t.markers.Sanitize() + `
WHERE id IN (
    SELECT id
    FROM ` + t.markers.Sanitize() + `
    WHERE id < (lpad(to_hex((extract(epoch FROM now() - interval '1 hour') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
      AND created_at < now() - interval '1 hour'
    ORDER BY id
    LIMIT $1::bigint
    FOR UPDATE SKIP LOCKED
)`
}

// OwnStatements returns the runtime's statements on the table of commit markers, so that
// checks of grants and plans can cover all statements.
func (c Config) OwnStatements() []Statement {
	t := c.withDefaults().tables()
	return []Statement{
		{
			Name: "CreateCommitMarker", Kind: Exec, SQL: t.createMarker(), Params: []Param{{Name: "id", Type: "uuid"}},
			Doc: "CreateCommitMarker adds the marker of a transaction.",
		},
		{
			Name: "CreateCommitMarkers", Kind: Exec, SQL: t.createMarkers(), Params: []Param{{Name: "ids", Type: "uuid[]"}},
			Doc: "CreateCommitMarkers adds the markers of several pipelines that share a transaction.",
		},
		{
			Name: "DeleteCommitMarkers", Kind: ExecRows, SQL: t.sweepMarkers(), Params: []Param{{Name: "row_limit", Type: "bigint"}},
			Doc:   "DeleteCommitMarkers removes markers that are older than an hour.",
			Retry: true, Plan: "indexed",
		},
	}
}

// TablesMigration returns the goose migration that creates the runtime's tables.
//
// The table of commit markers resolves a COMMIT whose answer is lost. Without it, such a
// COMMIT is ErrCommitUnknown. The table of server histories shows which replicas follow the
// primary. Without it, replicas are not used. The application's role needs SELECT, INSERT,
// UPDATE and DELETE on both.
func (c Config) TablesMigration() string {
	t := c.withDefaults().tables()
	key := func(id pgx.Identifier, suffix string) string {
		return pgx.Identifier{id[len(id)-1] + suffix}.Sanitize()
	}
	return `-- The tables of the runtime. Creates new tables: locks nothing that exists.

-- +goose Up
CREATE TABLE ` + t.markers.Sanitize() + ` (
    id         uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT ` + key(t.markers, "_pkey") + ` PRIMARY KEY (id)
);

CREATE TABLE ` + t.histories.Sanitize() + ` (
    n        bigint      GENERATED ALWAYS AS IDENTITY NOT NULL,
    timeline bigint      NOT NULL,
    started  bigint      NOT NULL,
    beat     bigint      NOT NULL DEFAULT 0,
    beat_at  timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT ` + key(t.histories, "_pkey") + ` PRIMARY KEY (n),
    CONSTRAINT ` + key(t.histories, "_history_key") + ` UNIQUE (timeline, started)
)
-- Its row is updated often: most of the page is kept free for that.
WITH (fillfactor = 20);

-- +goose Down
DROP TABLE ` + t.histories.Sanitize() + `;
DROP TABLE ` + t.markers.Sanitize() + `;
`
}

// errNoTable returns the error of a missing table of the runtime, with its consequence.
func errNoTable(table, cost string) error {
	return fmt.Errorf("table %s does not exist: %s: create it with the migration that Config.TablesMigration returns", table, cost)
}

// undefinedTable reports whether a statement names a table that does not exist.
func undefinedTable(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == pgerrcode.UndefinedTable
}
