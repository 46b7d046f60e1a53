#!/usr/bin/env bash
# A LEFT JOIN makes the columns of a table nullable, and those of a subquery, of LATERAL and of sqlc.embed not.
#
# Versions: sqlc 1.31.1, with emit_pointers_for_null_types.
# Expected: every column that is on the nullable side of a LEFT JOIN is a pointer, as those of a table are.
# Seen: b.title of LEFT JOIN books b is a *string. The same column of LEFT JOIN (SELECT …) b, of LEFT JOIN LATERAL (SELECT …) b,
#   and of lower(b.title) is a string, and sqlc.embed(b) a struct of plain fields. The code compiles and works for the rows
#   that have a partner.
# Why it matters: the first row without one fails the whole list with "cannot scan NULL into *string". The server's
#   description of the result does not show it either: it names the table's column, which is NOT NULL.
# Output:
#   a table: *string
#   a subquery: string
#   LATERAL: string
#   lower(): string
#   sqlc.embed: Book
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
CREATE TABLE authors (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint NOT NULL, title text NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: OfTable :many
SELECT a.id, b.title FROM authors a LEFT JOIN books b ON b.author_id = a.id;

-- name: OfSubquery :many
SELECT a.id, b.title FROM authors a LEFT JOIN (SELECT author_id, title FROM books) b ON b.author_id = a.id;

-- name: OfLateral :many
SELECT a.id, b.title FROM authors a LEFT JOIN LATERAL (SELECT title FROM books x WHERE x.author_id = a.id LIMIT 1) b ON true;

-- name: OfFunction :many
SELECT a.id, lower(b.title) AS title FROM authors a LEFT JOIN books b ON b.author_id = a.id;

-- name: OfEmbed :many
SELECT a.id, sqlc.embed(b) FROM authors a LEFT JOIN books b ON b.author_id = a.id;
SQL
./sqlc generate
# second QUERY: the Go type of the second field of its rows.
second() { sed -n "/^type $1Row struct/,/^}/p" db/queries.sql.go | sed -n '3s/.* //p'; }
printf '%s\n' "a table: $(second OfTable)" "a subquery: $(second OfSubquery)" "LATERAL: $(second OfLateral)" "lower(): $(second OfFunction)" \
	"sqlc.embed: $(second OfEmbed)"
[[ $(second OfTable) == '*string' ]] || fail "a table's column is no pointer"
[[ $(second OfSubquery)$(second OfLateral)$(second OfFunction)$(second OfEmbed) == stringstringstringBook ]] || fail "another type"
