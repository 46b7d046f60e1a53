package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// consequences are what a setting of a role, a database or DATABASE_URL does to
// the service, where that is more than a matter of speed.
var consequences = map[string]string{
	"idle_in_transaction_session_timeout": "transactions that pause longer are ended by the server",
	"lock_timeout":                        "statements that wait longer for a lock fail",
	"search_path":                         "tables are looked for there",
	"session_replication_role":            "triggers and foreign keys are not enforced",
	"statement_timeout":                   "statements, imports and migrations that take longer are cancelled, whatever QUERY_TIMEOUT is",
	"synchronous_commit":                  "a crash of the server can lose writes that were acknowledged",
	"TimeZone":                            "dates and date_trunc are of that zone and not UTC",
	"transaction_timeout":                 "transactions, imports and migrations that take longer are ended by the server",
}

// checkSettings names the settings of the session that a role, a database or
// DATABASE_URL has changed.
func (x *report) checkSettings(ctx context.Context, s server, router *postgres.Router) error {
	changed, err := router.ForeignSettings(ctx)
	if err != nil {
		return fmt.Errorf("look at the settings: %w", err)
	}
	var others []string
	for _, c := range changed {
		consequence, known := consequences[c.Name]
		switch {
		case c.Name == "default_transaction_read_only": // a finding of check
		case c.Pinned != "":
			x.wrong("%s is %s: statements are written for %s, and through a pooler it cannot be set: %s", c.Name, c.Value, c.Pinned, s.reset(c))
		case c.Name == "session_replication_role":
			x.wrong("%s is %s: %s: %s", c.Name, c.Value, consequence, s.reset(c))
		case known:
			x.note("%s is %s: %s; if that is not meant, %s", c.Name, c.Value, consequence, s.reset(c))
		default:
			others = append(others, c.Name+" = "+c.Value)
		}
	}
	if len(others) > 0 {
		x.note("set by the role, the database or DATABASE_URL: %s", strings.Join(others, ", "))
	}
	return nil
}

// reset says how to undo a setting where it was made.
func (s server) reset(c postgres.SessionSetting) string {
	role, database := pgx.Identifier{s.Role}.Sanitize(), pgx.Identifier{s.Database}.Sanitize()
	switch c.Source {
	case "user":
		return fmt.Sprintf("ALTER ROLE %s RESET %s", role, c.Name)
	case "database":
		return fmt.Sprintf("ALTER DATABASE %s RESET %s", database, c.Name)
	case "database user":
		return fmt.Sprintf("ALTER ROLE %s IN DATABASE %s RESET %s", role, database, c.Name)
	case "client":
		return "remove it from DATABASE_URL or PGOPTIONS"
	}
	return "change it in postgresql.conf"
}
