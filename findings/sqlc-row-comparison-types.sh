#!/usr/bin/env bash
# sqlc gives every parameter of a row comparison the type of the first column.
#
# Versions: sqlc 1.31.1.
# Expected: in (created_at, id) > (@after, @after_id), the condition of keyset pagination, each parameter has the type of the
#   column that it is compared with, as it has in created_at > @after.
# Seen: both parameters get the type of the first column: AfterID is a timestamp. The code compiles, and the server is sent
#   a timestamp for a bigint. With (quantity, id) and an integer quantity, the id's parameter is an int32: that works,
#   until an id is beyond 2147483647, which no caller can pass then.
# Why it matters: the second case passes every test with small ids. A cast on the parameter, @after_id::bigint, helps.
# Output:
#   id after a timestamptz: pgtype.Timestamptz
#   id after an int: int32
#   with a cast: int64
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
CREATE TABLE orders (id bigint PRIMARY KEY, quantity int NOT NULL, created_at timestamptz NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: ByTime :many
SELECT id FROM orders WHERE (created_at, id) > (@after, @after_id) ORDER BY created_at, id LIMIT 10;

-- name: ByQuantity :many
SELECT id FROM orders WHERE (quantity, id) > (@after, @after_id) ORDER BY quantity, id LIMIT 10;

-- name: ByQuantityCast :many
SELECT id FROM orders WHERE (quantity, id) > (@after, @after_id::bigint) ORDER BY quantity, id LIMIT 10;
SQL
./sqlc generate
# second STRUCT: the Go type of the second parameter.
second() { sed -n "/^type $1Params/,/^}/s/.*AfterID *//p" db/queries.sql.go; }
printf '%s\n' "id after a timestamptz: $(second ByTime)" "id after an int: $(second ByQuantity)" "with a cast: $(second ByQuantityCast)"
[[ $(second ByTime) == pgtype.Timestamptz && $(second ByQuantity) == int32 ]] || fail "the id has another type"
[[ $(second ByQuantityCast) == int64 ]] || fail "the cast does not help"
