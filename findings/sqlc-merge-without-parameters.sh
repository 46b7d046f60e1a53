#!/usr/bin/env bash
# sqlc generates a method without arguments for a MERGE with parameters.
#
# Versions: sqlc 1.31.1.
# Expected: sqlc either understands MERGE (part of PostgreSQL since 15) or refuses it, as it refuses unknown columns.
# Seen: sqlc generate exits 0. The method takes no arguments, and the text that it sends still contains @id and @name, which
#   are no parameters to PostgreSQL but an operator before a column. With $1 and $2 in their place nothing changes: no arguments.
# Why it matters: the generated code compiles, and only the server's error at run time tells. An INSERT … ON CONFLICT with the
#   same parameters is right.
# Output:
#   MERGE INTO items USING (SELECT @id::bigint AS id, @name::text AS name) AS new ON items.id = new.id
#   func (q *Queries) MergeNamed(ctx context.Context) error {
#   MERGE INTO items USING (SELECT $1::bigint AS id, $2::text AS name) AS new ON items.id = new.id
#   func (q *Queries) MergeNumbered(ctx context.Context) error {
#   func (q *Queries) Upsert(ctx context.Context, arg UpsertParams) error {
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "the behaviour has changed: $*" >&2; exit 1; }
GOBIN=$dir CGO_ENABLED=0 go install github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
cd "$dir"
cat >sqlc.yaml <<'YAML'
version: "2"
sql:
  - {engine: postgresql, schema: schema.sql, queries: queries.sql, gen: {go: {package: db, out: db, sql_package: pgx/v5}}}
YAML
cat >schema.sql <<'SQL'
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: MergeNamed :exec
MERGE INTO items USING (SELECT @id::bigint AS id, @name::text AS name) AS new ON items.id = new.id
WHEN NOT MATCHED THEN INSERT (id, name) VALUES (new.id, new.name);

-- name: MergeNumbered :exec
MERGE INTO items USING (SELECT $1::bigint AS id, $2::text AS name) AS new ON items.id = new.id
WHEN NOT MATCHED THEN INSERT (id, name) VALUES (new.id, new.name);

-- name: Upsert :exec
INSERT INTO items (id, name) VALUES (@id, @name) ON CONFLICT (id) DO NOTHING;
SQL
./sqlc generate || fail "sqlc refuses MERGE"
grep -E '^(func|MERGE)' db/queries.sql.go
grep -q '^func (q \*Queries) MergeNamed(ctx context.Context) error' db/queries.sql.go || fail "MergeNamed takes arguments"
grep -q '^func (q \*Queries) MergeNumbered(ctx context.Context) error' db/queries.sql.go || fail "MergeNumbered takes arguments"
grep -q '^func (q \*Queries) Upsert(ctx context.Context, arg UpsertParams) error' db/queries.sql.go || fail "Upsert takes none"
grep -q 'SELECT @id::bigint' db/queries.sql.go || fail "the named parameters are replaced"
