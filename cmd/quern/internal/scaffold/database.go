package scaffold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"quern/cmd/quern/internal/scratch"
	"quern/postgres"
)

// look applies the migrations to a new database, unless the caller has given one. Then it reads
// the table, and finds rows that the table accepts.
func (w *writer) look(ctx context.Context) (t *table, e *example, err error) {
	url := w.Database
	if url == "" {
		server, err := scratch.Start(ctx, scratch.Config{Say: func(line string) { fmt.Fprintln(w.Stderr, line) }})
		if err != nil {
			return nil, nil, fmt.Errorf("%w; or pass --database with the URL of a migrated database", err)
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		if url, err = server.Create(ctx); err != nil {
			return nil, nil, err
		}
		if err := server.Migrate(ctx, url, os.DirFS(filepath.Join(w.Dir, w.Migrations)), 0); err != nil {
			return nil, nil, err
		}
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		// The driver's error may have the password.
		return nil, nil, fmt.Errorf("database %s: not a connection string: write it as postgres://user:password@host:port/database", postgres.MaskURL(url))
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if t, err = readTable(ctx, conn, w.Table); err != nil {
		return nil, nil, err
	}
	if err := t.refuse(); err != nil {
		return nil, nil, err
	}
	e, err = findExample(ctx, conn, t)
	return t, e, err
}
