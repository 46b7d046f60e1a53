#!/usr/bin/env bash
# sqlc takes a line that starts with -- out of a string literal, and the statement stays valid.
#
# Versions: sqlc 1.31.1.
# Expected: a string literal reaches the server as it is written. Its lines are no comments.
# Seen: sqlc generate removes every line that starts with -- from the statement's text, inside literals too, and makes it
#   the doc comment of the generated method. It exits 0 and the SQL is valid: another text is stored.
# Why it matters: a template for a mail (its signature starts with "-- "), a Markdown rule or a script in a literal is
#   changed in the database without a word. Pass such text as a parameter.
# Output:
#   const addMail = `-- name: AddMail :exec
#   INSERT INTO mails (body) VALUES ('Dear all,
#   The board')
#   `
#   // signed on behalf of
#   func (q *Queries) AddMail(ctx context.Context) error {
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
CREATE TABLE mails (body text NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: AddMail :exec
INSERT INTO mails (body) VALUES ('Dear all,
-- signed on behalf of
The board');
SQL
./sqlc generate
seen=$(sed -n '/^const addMail/,/^func/p' db/queries.sql.go)
printf '%s\n' "$seen"
grep -q "^-- signed on behalf of" queries.sql || fail "the query file was rewritten"
! grep -q '^-- signed' <<<"$seen" || fail "the literal keeps its line"
grep -q '^// signed on behalf of' <<<"$seen" || fail "the line is no doc comment"
