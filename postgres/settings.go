package postgres

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"quern/postgres/internal/conn"
)

// ErrEncoding says that a database does not store UTF-8, or that text would not
// be sent to it as such. In a database of another encoding characters would be
// refused or, with SQL_ASCII, stored as whatever bytes arrive.
var ErrEncoding = conn.ErrEncoding

// SessionSetting is a setting of a connection that a role, a database or a
// connection string has changed.
type SessionSetting struct {
	Name   string
	Value  string
	Source string // "user", "database", "database user" or "client", as in pg_settings

	// Pinned is the value that statements are written for, if this is one of the
	// settings that decide what they mean. Behind a transaction pooler these
	// cannot be set. Source can then be any of pg_settings.
	Pinned string
}

const foreignSettings = `-- name: ForeignSettings :many
SELECT name, current_setting(name), source
FROM pg_settings
WHERE source IN ('user', 'database', 'database user', 'client')
   OR name = ANY($1)
ORDER BY name`

// ForeignSettings returns the settings of the primary's connections that a role,
// a database or the connection string has changed, and those that decide what
// statements mean and have another value than they are written for.
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
