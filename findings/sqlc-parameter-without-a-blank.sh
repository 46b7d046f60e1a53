#!/usr/bin/env bash
# WHERE id=@id is no parameter, and WHERE id = @id is one.
#
# Versions: sqlc 1.31.1, pgx/v5.
# Expected: blanks around an operator have no meaning, or sqlc refuses the text.
# Seen: sqlc generate succeeds, the method has no argument, and the text keeps id=@id. The same for <>@id and >=@id. In PostgreSQL
#   =@ is one operator, which nobody has defined.
# Why it matters: if the statement has another parameter, or none is expected, the code compiles, and each call fails in the database.
# Output:
#   WHERE id = @id: NameOf(ctx context.Context, id int64), sends id = $1
#   WHERE id=@id: NameWithoutBlank(ctx context.Context), sends id=@id
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
CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: NameOf :one
SELECT name FROM people WHERE id = @id;

-- name: NameWithoutBlank :one
SELECT name FROM people WHERE id=@id;
SQL
./sqlc generate
# method QUERY: its Go method with its arguments, and the condition of its text.
method() { sed -n "s/^func (q \*Queries) \($1([^)]*)\).*/\1/p" db/queries.sql.go; }
sends() { sed -n "/name: $1 /{n;s/.* WHERE //p}" db/queries.sql.go; }
echo "WHERE id = @id: $(method NameOf), sends $(sends NameOf)"
echo "WHERE id=@id: $(method NameWithoutBlank), sends $(sends NameWithoutBlank)"
[[ $(method NameOf) == *'id int64'* && $(sends NameOf) == 'id = $1' ]] || fail "with a blank"
[[ $(method NameWithoutBlank) == 'NameWithoutBlank(ctx context.Context)' && $(sends NameWithoutBlank) == 'id=@id' ]] || fail "without a blank"
