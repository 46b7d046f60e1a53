#!/usr/bin/env bash
# GROUP BY ROLLUP makes its columns nullable, and sqlc generates them as NOT NULL.
#
# Versions: sqlc 1.31.1, pgx/v5, with emit_pointers_for_null_types.
# Expected: a column of ROLLUP, CUBE or GROUPING SETS is a pointer, because its value is NULL in each row that is a total.
# Seen: it is the NOT NULL type of the table's column, as without ROLLUP. count(*) and sum() are right.
# Why it matters: the rows of totals are what ROLLUP is for, and the first of them fails the whole list with "cannot scan NULL into *string".
# Output:
#   GROUP BY city: string
#   GROUP BY ROLLUP (city): string
#   GROUP BY GROUPING SETS ((city), ()): string
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "the behaviour has changed: $*" >&2; exit 1; }
GOBIN=$dir CGO_ENABLED=0 go install github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
cd "$dir"
cat >sqlc.yaml <<'YAML'
version: "2"
sql:
  - engine: postgresql
    schema: schema.sql
    queries: queries.sql
    gen: {go: {package: db, out: db, sql_package: pgx/v5, emit_pointers_for_null_types: true}}
YAML
cat >schema.sql <<'SQL'
CREATE TABLE sales (city text NOT NULL, amount bigint NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: Plain :many
SELECT city, count(*) AS sold FROM sales GROUP BY city;

-- name: Rolled :many
SELECT city, count(*) AS sold FROM sales GROUP BY ROLLUP (city);

-- name: Sets :many
SELECT city, count(*) AS sold FROM sales GROUP BY GROUPING SETS ((city), ());
SQL
./sqlc generate
city() { sed -n "/^type $1Row struct/,/^}/p" db/queries.sql.go | sed -n 's/.*City *//p'; }
printf '%s\n' "GROUP BY city: $(city Plain)" "GROUP BY ROLLUP (city): $(city Rolled)" "GROUP BY GROUPING SETS ((city), ()): $(city Sets)"
[[ $(city Plain)$(city Rolled)$(city Sets) == stringstringstring ]] || fail "another type"
