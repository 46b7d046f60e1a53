package postgres

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"quern/postgres/internal/conn"
)

// ErrEncoding: the encoding of the database is not UTF-8, or text would be sent in another
// encoding. A database with another encoding would reject characters or, with SQL_ASCII,
// store arbitrary bytes.
var ErrEncoding = conn.ErrEncoding

// SessionSetting is a setting of a connection that a role, a database or a connection
// string has changed.
type SessionSetting struct {
	Name   string
	Value  string
	Source string // "user", "database", "database user" or "client", as in pg_settings

	// Pinned is the value that statements are written for, if this setting changes their
	// meaning. Behind a transaction pooler, such a setting cannot be set, and Source can be
	// any value of pg_settings.
	Pinned string
}

const foreignSettings = `-- name: ForeignSettings :many
SELECT name, current_setting(name), source
FROM pg_settings
WHERE source IN ('user', 'database', 'database user', 'client')
   OR name = ANY($1)
ORDER BY name`

// ForeignSettings returns the settings of the primary's connections that a role, a database
// or the connection string has changed. It also returns those that change the meaning of
// statements and differ from the value the statements are written for.
func (r *Router) ForeignSettings(ctx context.Context) ([]SessionSetting, error) {
	rows, err := r.Query(ctx, foreignSettings, slices.Sorted(maps.Keys(conn.SessionSettings)))
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s SessionSetting, err error) {
		err = row.Scan(&s.Name, &s.Value, &s.Source)
		s.Pinned = conn.SessionSettings[s.Name]
		return s, err
	})
	return slices.DeleteFunc(all, func(s SessionSetting) bool {
		return s.Name == "application_name" || s.Value == conn.StartupSettings[s.Name] || s.Value == conn.SessionSettings[s.Name]
	}), err
}
