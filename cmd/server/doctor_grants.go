package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/postgres"
	"quern/postgres/migrate"
)

// checkGrants lists each object on which the role lacks privileges that the
// statements of the registry need, with the GRANT that fixes it. It returns
// whether the role may read the table of applied migrations.
func (x *report) checkGrants(ctx context.Context, s server, router *postgres.Router) (mayReadStatus bool, err error) {
	conn, err := router.Pool().Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	statements := slices.Concat(db.Statements, postgres.Config{}.OwnStatements(), []postgres.Statement{migrate.StatusStatement})
	missing, err := postgres.FindMissingGrants(ctx, conn.Conn(), statements)
	if err != nil {
		return false, fmt.Errorf("check the grants: %w", err)
	}
	mayReadStatus = true
	for _, m := range missing {
		if m.Err != nil {
			x.wrong("role %s may not run %s: %v: GRANT the missing privilege", s.Role, some(m.Statements), m.Err)
			continue
		}
		x.wrong("role %s lacks %s on %s, needed by %s: %s", s.Role, strings.Join(m.Privileges, ", "), m.Object, some(m.Statements), m.Grant)
		mayReadStatus = mayReadStatus && !slices.Contains(m.Statements, migrate.StatusStatement.Name)
	}
	if s.Schema == nil && len(missing) == 0 {
		x.wrong("search_path names no schema that exists: CREATE SCHEMA, or ALTER ROLE %s SET search_path", pgx.Identifier{s.Role}.Sanitize())
	}
	return mayReadStatus, nil
}

// some lists the first names, and counts the rest.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
