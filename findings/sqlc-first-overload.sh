#!/usr/bin/env bash
# sqlc types a call of an overloaded function by the overload that it finds first, whatever the arguments are.
#
# Versions: sqlc 1.31.1.
# Expected: date_trunc('day', a timestamptz) is a timestamptz, substring(a text, 1, 2) and string_agg(a text, ',') are texts,
#   and in name = upper(@name) the parameter is a text: the arguments decide, as they do on the server.
# Seen: date_trunc is an interval, substring a bit string, string_agg a bytea, and the parameter of upper an interface{},
#   because upper(anymultirange) is an overload. strict_function_checks changes nothing. The code compiles.
# Why it matters: each row of the first two fails to scan, with "cannot scan timestamptz (OID 1184) in binary format into
#   *pgtype.Interval", and an interface{} takes any value at compile time. A cast, date_trunc(…)::timestamptz, helps.
# Output:
#   date_trunc: pgtype.Interval
#   substring: pgtype.Bits
#   string_agg: []byte
#   parameter of upper: interface{}
#   with a cast: pgtype.Timestamptz
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
    strict_function_checks: true
    gen: {go: {package: db, out: db, sql_package: pgx/v5}}
YAML
cat >schema.sql <<'SQL'
CREATE TABLE events (id bigint PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL);
SQL
cat >queries.sql <<'SQL'
-- name: Truncated :many
SELECT date_trunc('day', at) AS got FROM events;

-- name: Shortened :many
SELECT substring(name, 1, 2) AS got FROM events;

-- name: Joined :one
SELECT string_agg(name, ',') AS got FROM events;

-- name: ByName :many
SELECT id FROM events WHERE name = upper(@name);

-- name: Cast :many
SELECT date_trunc('day', at)::timestamptz AS got FROM events;
SQL
./sqlc generate
# result QUERY: the Go type of its one column.
result() { sed -n "s/^func (q \*Queries) $1(ctx context.Context) (\(\[\]\)\{0,1\}\(.*\), error) {/\2/p" db/queries.sql.go; }
joined=$(sed -n 's/^func (q \*Queries) Joined(ctx context.Context) (\(.*\), error) {/\1/p' db/queries.sql.go)
parameter=$(sed -n 's/^func (q \*Queries) ByName(ctx context.Context, [a-zA-Z]* \(.*\)) (.*/\1/p' db/queries.sql.go)
printf '%s\n' "date_trunc: $(result Truncated)" "substring: $(result Shortened)" "string_agg: $joined" "parameter of upper: $parameter" \
	"with a cast: $(result Cast)"
[[ $(result Truncated) == pgtype.Interval && $(result Shortened) == pgtype.Bits && $joined == '[]byte' ]] || fail "another type"
[[ $parameter == 'interface{}' && $(result Cast) == pgtype.Timestamptz ]] || fail "another parameter, or the cast does not help"
