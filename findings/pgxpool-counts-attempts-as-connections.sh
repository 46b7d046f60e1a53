#!/usr/bin/env bash
# pgxpool: NewConnsCount counts attempts to connect, not connections.
#
# Versions: pgx 5.13.0 (pgxpool).
# Expected: Stat().NewConnsCount() is the "cumulative count of new connections opened": 0 while no connection was ever opened.
# Seen: it rises with each attempt, also if BeforeConnect refuses it before anything is dialled.
# Why it matters: exported as a counter, it is read as the rate of new connections. A server that is down, or a BeforeConnect that
#   fetches a password and fails, looks like a pool that opens connections faster than ever, while it opens none.
# Output:
#   Acquire: no password
#   dialled 0 times, total connections 0, NewConnsCount 1
#   Acquire: no password
#   dialled 0 times, total connections 0, NewConnsCount 2
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOFLAGS=-mod=mod
go mod init finding
go get github.com/jackc/pgx/v5@v5.13.0
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func main() {
	ctx := context.Background()
	config, err := pgxpool.ParseConfig("host=127.0.0.1 port=1 user=nobody pool_max_conns=1")
	if err != nil {
		panic(err)
	}
	refused := errors.New("no password")
	config.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return refused }
	dialled := 0
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled++
		return nil, errors.New("dialled")
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	before := pool.Stat().NewConnsCount()
	for range 2 {
		_, err := pool.Acquire(ctx)
		stat := pool.Stat()
		fmt.Printf("Acquire: %v\ndialled %d times, total connections %d, NewConnsCount %d\n", err, dialled, stat.TotalConns(), stat.NewConnsCount())
		if !errors.Is(err, refused) || dialled != 0 || stat.TotalConns() != 0 {
			fmt.Println("changed: BeforeConnect should have refused the attempt")
			os.Exit(1)
		}
	}
	if pool.Stat().NewConnsCount() < before+2 {
		fmt.Println("changed: attempts are no longer counted as connections")
		os.Exit(1)
	}
}
GO
go run . || exit 1
