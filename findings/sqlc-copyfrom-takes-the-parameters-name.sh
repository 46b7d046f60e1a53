#!/usr/bin/env bash
# With a single parameter, sqlc's :copyfrom copies into the column that is called like the parameter.
#
# Versions: sqlc 1.31.1.
# Expected: INSERT INTO items (nickname) VALUES (@name) copies into the column nickname, as it does with two parameters.
# Seen: sqlc generate exits 0 and the method copies into the column name, which the statement does not mention. A parameter
#   that is used twice, VALUES (@name, @name), copies into one column, and the other one is left out.
# Why it matters: if the table has a column of that name, the values are stored there and nothing fails.
# Output:
#   CopyTwo   []string{"items"}, []string{"nickname", "id"}
#   CopyOne   []string{"items"}, []string{"name"}
#   CopySame  []string{"items"}, []string{"name"}
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
CREATE TABLE items (id bigint, name text, nickname text);
SQL
cat >queries.sql <<'SQL'
-- name: CopyTwo :copyfrom
INSERT INTO items (nickname, id) VALUES (@name, @id);

-- name: CopyOne :copyfrom
INSERT INTO items (nickname) VALUES (@name);

-- name: CopySame :copyfrom
INSERT INTO items (nickname, name) VALUES (@name, @name);
SQL
./sqlc generate || fail "sqlc refuses a statement"
copied() { grep -o "\[\]string{\"items\"}.*iteratorFor$1{" db/copyfrom.go | sed 's/, &.*//'; }
for name in CopyTwo CopyOne CopySame; do printf '%-9s %s\n' "$name" "$(copied $name)"; done
[ "$(copied CopyTwo)" = '[]string{"items"}, []string{"nickname", "id"}' ] || fail "CopyTwo"
[ "$(copied CopyOne)" = '[]string{"items"}, []string{"name"}' ] || fail "CopyOne names another column"
[ "$(copied CopySame)" = '[]string{"items"}, []string{"name"}' ] || fail "CopySame names other columns"
