package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// checkForeign checks that the tests of this repository can use a server: they create databases and
// roles, change settings of roles, and see the sessions of other roles. If the server does not check
// passwords, it only prints a warning. The tests of wrong passwords and of PgBouncer fail then.
func checkForeign(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		// The driver's error may contain the password.
		return fmt.Errorf("%s cannot be parsed: write it as postgres://user:password@host:port/database", postgres.MaskURL(address))
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var super bool
	if err := conn.QueryRow(ctx, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super); err != nil {
		return err
	}
	if !super {
		return errors.New("its role is not a superuser, but the tests create databases and roles: use a superuser, on a server that only tests use")
	}
	if !asksForPassword(ctx, config) {
		fmt.Fprintln(os.Stderr, "storetest: TEST_DATABASE_URL: the server accepts a wrong password, so tests of passwords and of PgBouncer fail: "+
			"set scram-sha-256 in its pg_hba.conf for connections from here")
	}
	return nil
}

// asksForPassword reports whether a wrong password is refused.
func asksForPassword(ctx context.Context, config *pgx.ConnConfig) bool {
	config = config.Copy()
	config.Password = "wrong"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return true
	}
	_ = conn.Close(ctx)
	return false
}
