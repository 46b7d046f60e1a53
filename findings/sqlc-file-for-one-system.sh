#!/usr/bin/env bash
# The queries of user_windows.sql exist only when the program is built for Windows.
#
# Versions: sqlc 1.31.1, Go 1.26.
# Expected: the name of a query file does not matter to the code, or sqlc refuses it.
# Seen: sqlc writes user_windows.sql.go. Go looks for the name of a system before the first dot, so that the file is part of the
#   package on Windows only. js, arm64, plan9 and so on are names like that, too, and a file that starts with _ is left out everywhere.
# Why it matters: the package compiles. Only the caller's method is undefined, although it is there in the file.
# Output:
#   written: user_test.sql.go user_windows.sql.go
#   in the package on linux: user_test.sql.go
#   in the package on windows: user_test.sql.go user_windows.sql.go
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() { echo "the behaviour has changed: $*" >&2; exit 1; }
GOBIN=$dir CGO_ENABLED=0 go install github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
cd "$dir"
cat >sqlc.yaml <<'YAML'
version: "2"
sql:
  - {engine: postgresql, schema: schema.sql, queries: queries, gen: {go: {package: db, out: db, sql_package: pgx/v5}}}
YAML
mkdir queries
echo 'CREATE TABLE users (id bigint);' >schema.sql
printf -- '-- name: CountA :one\nSELECT count(*) FROM users;\n' >queries/user_windows.sql
printf -- '-- name: CountB :one\nSELECT count(*) FROM users;\n' >queries/user_test.sql
./sqlc generate || fail "sqlc refuses a file"
echo 'module example' >go.mod
echo "written: $(cd db && echo user*)"
on() { GOOS=$1 go list -e -f '{{range .GoFiles}}{{.}} {{end}}' ./db | tr ' ' '\n' | grep '^user' | xargs; }
for os in linux windows; do echo "in the package on $os: $(on $os)"; done
[ "$(on linux)" = user_test.sql.go ] || fail "on linux"
[ "$(on windows)" = 'user_test.sql.go user_windows.sql.go' ] || fail "on windows"
