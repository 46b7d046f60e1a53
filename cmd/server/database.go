package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"quern/localpg"
	"quern/postgres"
)

// stopTimeout bounds the embedded PostgreSQL's shutdown, which takes some
// milliseconds unless a disk is in trouble. The next start repairs what a
// killed one leaves.
const stopTimeout = 10 * time.Second

// database is the PostgreSQL server that a command works on.
type database struct {
	url      string
	shown    string // the URL as it may be shown to whoever ran the command
	dir      string // of the embedded default; empty with DATABASE_URL
	embedded *localpg.Server
}

// openDatabase names the server of DATABASE_URL, or starts the embedded default.
func (a *app) openDatabase(ctx context.Context) (*database, error) {
	if given := a.settings.DatabaseURL; given != "" {
		return &database{url: given, shown: postgres.MaskURL(given)}, nil
	}
	binaries, err := localpg.Binaries(ctx, func(line string) { fmt.Fprintln(a.stdout, line) })
	if err != nil {
		return nil, fmt.Errorf("%w; or set DATABASE_URL to a server of your own", err)
	}
	server, err := localpg.Start(ctx, localpg.Config{Dir: a.settings.postgresDir(), Binaries: binaries, Log: a.warnings})
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) && failed.Op == "mkdir" {
		return nil, fmt.Errorf("%w: set DATA_DIR to a directory that this user may write", err)
	}
	if err != nil {
		return nil, err
	}
	return &database{url: server.URL(), shown: server.URL(), dir: server.Dir(), embedded: server}, nil
}

// joinDatabase is openDatabase for a command that may be run beside serve: the
// embedded default that serve has started is used as it is.
func (a *app) joinDatabase(ctx context.Context) (*database, error) {
	d, err := a.openDatabase(ctx)
	if !errors.Is(err, localpg.ErrInUse) {
		return d, err
	}
	running, err := localpg.Running(a.settings.postgresDir())
	if err != nil {
		return nil, err
	}
	return &database{url: running, shown: running, dir: a.settings.postgresDir()}, nil
}

// ended is closed when the server that was started here has ended by itself.
// It never is for another one.
func (d *database) ended() <-chan struct{} {
	if d.embedded == nil {
		return nil
	}
	return d.embedded.Done()
}

// close stops the server if it was started here.
func (d *database) close() error {
	if d.embedded == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return d.embedded.Stop(ctx)
}
