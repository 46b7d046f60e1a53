package httpload

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is a server that is compared with the others.
type peer struct {
	name    string
	about   string
	command []string
	env     []string // in addition to this process's environment
	static  bool     // it answers with made-up data
}

// programs are the built programs and the directory of the Python services.
type programs struct {
	server string // cmd/server
	child  string
	python string // the directory of the services in Python
}

func peers(p programs, url string) []peer {
	database := "DATABASE_URL=" + url
	// LISTEN has no fixed port, and unused output is turned off.
	serve := []string{database, "DATABASE_REPLICA_URLS=", "LISTEN=127.0.0.1:0", "POOL_MAX_CONNS=8", "POOL_MIN_CONNS=8", "LOG_LEVEL=warn"}
	python := func(kind string) []string { return []string{"python3", filepath.Join(p.python, "http_peer.py"), kind} }
	return []peer{
		{name: "quern", about: "cmd/server serve", command: []string{p.server, "serve"}, env: serve},
		{
			name: "quern, reads not coalesced", about: "cmd/server serve with COALESCE_READS=false",
			command: []string{p.server, "serve"}, env: append([]string{"COALESCE_READS=false"}, serve...),
		},
		{
			name: Reference, about: "internal/api with the generated queries on a pgxpool",
			command: []string{p.child, "pgx-api"}, env: []string{database},
		},
		{
			name: "net/http and pgx by hand", about: "one handler: pgxpool, Scan, encoding/json",
			command: []string{p.child, "pgx-handler"}, env: []string{database},
		},
		{
			name: "FastAPI and SQLAlchemy", about: "ORM on psycopg2 in as many threads as connections, response model, 2 uvicorn workers",
			command: python("sync"), env: []string{database},
		},
		{
			name: "FastAPI and SQLAlchemy, no response model", about: "the same with the answer put together by hand",
			command: python("bare"), env: []string{database},
		},
		{
			name: "FastAPI and async SQLAlchemy", about: "ORM on asyncpg, response model, 2 uvicorn workers with uvloop",
			command: python("async"), env: []string{database},
		},
		{name: "net/http alone", about: "a static answer: the ceiling", command: []string{p.child, "static"}, static: true},
	}
}

// build builds the programs into a directory.
func build(ctx context.Context, dir string) (p programs, err error) {
	root, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", "quern")
	if err != nil {
		return p, err
	}
	p = programs{
		server: filepath.Join(dir, "server"),
		child:  filepath.Join(dir, "child"),
		python: filepath.Join(root, "bench", "python"),
	}
	if _, err = goCommand(ctx, root, "build", "-o", p.server, "./cmd/server"); err != nil {
		return p, err
	}
	_, err = goCommand(ctx, "", "build", "-o", p.child, "quern/bench/internal/httpload/child")
	return p, err
}

// goCommand runs go in a directory and returns its trimmed output.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
