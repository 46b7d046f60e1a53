#!/usr/bin/env bash
# omit_unused_structs leaves out an enum that is used as an array.
#
# Versions: sqlc 1.31.1, pgx/v5, with omit_unused_structs.
# Expected: the option leaves out the models of tables and enums that no query uses.
# Seen: an enum counts as used if a query has a parameter, a column or a struct's field of exactly its type. For mood[] as the only column
#   or as a parameter the method's type is []Mood, and the type Mood is not generated, so that the package does not compile.
# Why it matters: adding an unrelated query, or removing one, decides whether the generated package compiles.
# Output:
#   mood[]: undefined: Mood
#   mood[] and mood: it compiles
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
    gen: {go: {package: db, out: db, sql_package: pgx/v5, omit_unused_structs: true}}
YAML
cat >schema.sql <<'SQL'
CREATE TYPE mood AS ENUM ('calm', 'busy');
CREATE TABLE people (id bigint PRIMARY KEY, mood mood NOT NULL, moods mood[] NOT NULL);
SQL
go mod init finding
compiles() {
	./sqlc generate
	go get github.com/jackc/pgx/v5@v5.13.0
	{ go build ./db 2>&1 || true; } | sed -n 's/.*: \(undefined: Mood\)$/\1/p' | head -1
}
cat >queries.sql <<'SQL'
-- name: MoodsOf :one
SELECT moods FROM people WHERE id = $1;
SQL
alone=$(compiles)
echo "mood[]: $alone"
cat >>queries.sql <<'SQL'

-- name: MoodOf :one
SELECT mood FROM people WHERE id = $1;
SQL
together=$(compiles)
echo "mood[] and mood: ${together:-it compiles}"
[[ $alone == 'undefined: Mood' && -z $together ]] || fail "the enum is generated"
