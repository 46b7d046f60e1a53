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

// checkForeign checks what the tests of this repository need of a server: they create databases and
// roles, change settings of roles, and see the sessions of others. If it does not ask for passwords, it
// only says so: the tests of wrong passwords and of PgBouncer fail then.
func checkForeign(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		// The driver's error may hold the password.
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
		return errors.New("its role is not a superuser, and the tests create databases and roles: use one that is, on a server for tests alone")
	}
	if !asksForPassword(ctx, config) {
		fmt.Fprintln(os.Stderr, "storetest: TEST_DATABASE_URL: the server lets in a wrong password, so that tests of passwords and of PgBouncer fail: "+
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
