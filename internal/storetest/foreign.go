package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// checkForeign says what the server of TEST_DATABASE_URL must be for the tests to
// pass: they create databases and roles, change settings of roles, and see the
// sessions of others. That it must ask for passwords is only said: without
// that, a few tests of wrong passwords and of PgBouncer fail.
func checkForeign(ctx context.Context, admin *pgxpool.Pool) error {
	var super bool
	if err := admin.QueryRow(ctx, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super); err != nil {
		return err
	}
	if !super {
		return errors.New("TEST_DATABASE_URL: its role is not a superuser, and the tests create databases and roles: use one that is, on a server for tests alone")
	}
	if asksForPassword(ctx, admin) {
		return nil
	}
	fmt.Fprintln(os.Stderr, "storetest: TEST_DATABASE_URL: the server lets in a wrong password, so that tests of passwords and of PgBouncer fail: "+
		"set scram-sha-256 in its pg_hba.conf for connections from here")
	return nil
}

// asksForPassword reports whether a wrong password is refused.
func asksForPassword(ctx context.Context, admin *pgxpool.Pool) bool {
	config := admin.Config().ConnConfig
	config.Password = "wrong"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return true
	}
	_ = conn.Close(ctx)
	return false
}
