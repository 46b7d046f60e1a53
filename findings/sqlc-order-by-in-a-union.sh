#!/usr/bin/env bash
# ORDER BY in a branch of a UNION is refused as ambiguous.
#
# Versions: sqlc 1.31.1, pgx/v5.
# Expected: in (SELECT … ORDER BY id LIMIT 5) UNION ALL (SELECT … ORDER BY id DESC LIMIT 5) each ORDER BY belongs to its branch, as
#   PostgreSQL has it.
# Seen: 'column reference "id" is ambiguous'. sqlc looks for id in the tables of both branches. With an alias in each branch, and ORDER
#   BY a.id and b.id, it is accepted.
# Why it matters: it is the usual form for the rows around a key, and for a LIMIT in each branch. The message sends one to look for a second id in a
#   SELECT that has one table.
# Output:
#   without aliases: column reference "id" is ambiguous
#   with aliases: accepted
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
generated() { ./sqlc generate 2>&1 >/dev/null | sed -n 's/^queries.sql:[0-9:]* //p'; }
cat >queries.sql <<'SQL'
-- name: Around :many
(SELECT id FROM people WHERE id > @id ORDER BY id LIMIT 5)
UNION ALL
(SELECT id FROM people WHERE id < @id ORDER BY id DESC LIMIT 5);
SQL
plain=$(generated || true)
cat >queries.sql <<'SQL'
-- name: Around :many
(SELECT a.id FROM people AS a WHERE a.id > @id ORDER BY a.id LIMIT 5)
UNION ALL
(SELECT b.id FROM people AS b WHERE b.id < @id ORDER BY b.id DESC LIMIT 5);
SQL
aliased=$(generated || true)
echo "without aliases: $plain"
echo "with aliases: ${aliased:-accepted}"
[[ $plain == 'column reference "id" is ambiguous' && -z $aliased ]] || fail "another answer"
