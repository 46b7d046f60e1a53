#!/usr/bin/env bash
# SELECT * FROM (VALUES …) is sent without a column, and answers rows that are empty.
#
# Versions: sqlc 1.31.1, pgx/v5.
# Expected: * has the columns that the alias names, as for a table or a subquery, or sqlc refuses it.
# Seen: sqlc generate succeeds. It replaces * by the columns that it knows, and of VALUES it knows none: the text is "SELECT  FROM", which
#   PostgreSQL accepts. The method returns the right number of rows of an empty struct. Beside a table, * has the table's columns alone.
#   Naming the columns is refused as "column does not exist", unless each is cast: number::integer.
# Why it matters: the code compiles and runs without an error, and the data is missing.
# Output:
#   FROM (VALUES …): SELECT  FROM (VALUES (1, 'a'), (2, 'b')) AS v (number, letter), 0 fields
#   people CROSS JOIN (VALUES …): SELECT id FROM people CROSS JOIN (VALUES (1, 'a')) AS v (number, letter)
#   FROM (SELECT …): SELECT number, letter FROM (SELECT 1 AS number, 'a' AS letter) AS v, 2 fields
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
    gen: {go: {package: db, out: db, sql_package: pgx/v5}}
YAML
cat >schema.sql <<'SQL'
CREATE TABLE people (id bigint PRIMARY KEY);
SQL
cat >queries.sql <<'SQL'
-- name: OfValues :many
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (number, letter);

-- name: Beside :many
SELECT * FROM people CROSS JOIN (VALUES (1, 'a')) AS v (number, letter);

-- name: OfSelect :many
SELECT * FROM (SELECT 1 AS number, 'a' AS letter) AS v;
SQL
./sqlc generate
text() { sed -n "/name: $1 /{n;p}" db/queries.sql.go; }
fields() { sed -n "/^type $1Row struct/,/^}/p" db/queries.sql.go | sed '1d;$d' | wc -l; }
echo "FROM (VALUES …): $(text OfValues), $(fields OfValues) fields"
echo "people CROSS JOIN (VALUES …): $(text Beside)"
echo "FROM (SELECT …): $(text OfSelect), $(fields OfSelect) fields"
[[ $(text Beside) == 'SELECT id FROM people'* ]] || fail "columns of VALUES beside a table"
[[ $(text OfValues) == 'SELECT  FROM (VALUES'* && $(fields OfValues) == 0 && $(fields OfSelect) == 2 ]] || fail "columns of VALUES"
