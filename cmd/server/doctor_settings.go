package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// consequences describes how a setting of a role, a database or DATABASE_URL
// changes the behaviour of the service, unless it changes only its speed.
var consequences = map[string]string{
	"idle_in_transaction_session_timeout": "the server ends transactions that are idle for longer",
	"lock_timeout":                        "statements that wait longer for a lock fail",
	"search_path":                         "tables are looked up in these schemas",
	"session_replication_role":            "triggers and foreign keys are not enforced",
	"statement_timeout":                   "statements, imports and migrations that take longer are cancelled, regardless of QUERY_TIMEOUT",
	"synchronous_commit":                  "a crash of the server can lose writes that were acknowledged",
	"TimeZone":                            "dates and date_trunc use that time zone instead of UTC",
	"transaction_timeout":                 "the server ends transactions, imports and migrations that take longer",
}

// checkSettings lists the session settings that the role, the database or
// DATABASE_URL has changed.
func (x *report) checkSettings(ctx context.Context, s server, router *postgres.Router) error {
	changed, err := router.ForeignSettings(ctx)
	if err != nil {
		return fmt.Errorf("check the settings: %w", err)
	}
	var others []string
	for _, c := range changed {
		consequence, known := consequences[c.Name]
		switch {
		case c.Name == "default_transaction_read_only": // check reports it
		case c.Pinned != "":
			x.wrong("%s is %s: the statements need %s, and the session cannot set it through a pooler: %s", c.Name, c.Value, c.Pinned, s.reset(c))
		case c.Name == "session_replication_role":
			x.wrong("%s is %s: %s: %s", c.Name, c.Value, consequence, s.reset(c))
		case known:
			x.note("%s is %s: %s; if that is not intended, %s", c.Name, c.Value, consequence, s.reset(c))
		default:
			others = append(others, c.Name+" = "+c.Value)
		}
	}
	if len(others) > 0 {
		x.note("set by the role, the database or DATABASE_URL: %s", strings.Join(others, ", "))
	}
	return nil
}

// reset returns the command that undoes a setting where it was made.
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
