#!/usr/bin/env bash
# A scalar subquery, NULLIF and a comparison with a nullable column are NOT NULL to sqlc.
#
# Versions: sqlc 1.31.1, with emit_pointers_for_null_types.
# Expected: (SELECT name FROM authors WHERE …) is nullable, because a scalar subquery without a row is NULL. So are
#   NULLIF, and age > 18 where age is NULL.
# Seen: the subquery is a string. NULLIF(name, '') is not even a text: it is a bool. age > 18 is a bool. All compile.
# Why it matters: the list fails with "cannot scan NULL into *string" when the first row without a partner is there. NULLIF
#   fails in every row that is not NULL, and the comparison in those that are.
# Output:
#   scalar subquery: string
#   NULLIF: bool
#   comparison: bool
#   nullable column: *int32
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
CREATE TABLE authors (id bigint PRIMARY KEY, name text NOT NULL, age int);
CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: Subquery :many
SELECT b.id, (SELECT a.name FROM authors a WHERE a.id = b.author_id) AS got FROM books b;

-- name: NullIf :many
SELECT id, NULLIF(name, '') AS got FROM authors;

-- name: Comparison :many
SELECT id, age > 18 AS got FROM authors;

-- name: Nullable :many
SELECT id, age AS got FROM authors;
SQL
./sqlc generate
# got QUERY: the Go type of its second column.
got() { sed -n "/^type $1Row struct/,/^}/s/.*Got *//p" db/queries.sql.go; }
printf '%s\n' "scalar subquery: $(got Subquery)" "NULLIF: $(got NullIf)" "comparison: $(got Comparison)" "nullable column: $(got Nullable)"
[[ $(got Subquery) == string && $(got NullIf) == bool && $(got Comparison) == bool ]] || fail "another type"
[[ $(got Nullable) == '*int32' ]] || fail "a nullable column is no pointer"
