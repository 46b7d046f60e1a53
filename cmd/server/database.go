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

// stopTimeout limits the shutdown of the embedded PostgreSQL, which takes a few
// milliseconds unless the disk has problems. If it is killed, the next start
// recovers.
const stopTimeout = 10 * time.Second

// database is the PostgreSQL server that a command uses.
type database struct {
	url      string
	shown    string // the URL as it may be shown to the user
	dir      string // data directory of the embedded server; empty with DATABASE_URL
	embedded *localpg.Server
}

// openDatabase returns the server of DATABASE_URL, or starts the embedded one.
func (a *app) openDatabase(ctx context.Context) (*database, error) {
	if given := a.settings.DatabaseURL; given != "" {
		return &database{url: given, shown: postgres.MaskURL(given)}, nil
	}
	binaries, err := localpg.Binaries(ctx, func(line string) { fmt.Fprintln(a.stdout, line) })
	if err != nil {
		return nil, fmt.Errorf("%w; or set DATABASE_URL to an existing server", err)
	}
	server, err := localpg.Start(ctx, localpg.Config{Dir: a.settings.postgresDir(), Binaries: binaries, Log: a.warnings})
	if failed := (*fs.PathError)(nil); errors.As(err, &failed) && failed.Op == "mkdir" {
		return nil, fmt.Errorf("%w: set DATA_DIR to a directory that this user may write to", err)
	}
	if err != nil {
		return nil, err
	}
	return &database{url: server.URL(), shown: server.URL(), dir: server.Dir(), embedded: server}, nil
}

// joinDatabase is like openDatabase, but for a command that may run at the same time as serve.
// If serve has started the embedded server, the command uses that one.
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

// ended returns a channel that is closed when the embedded server ends by itself.
// It is nil if this process did not start the server.
func (d *database) ended() <-chan struct{} {
	if d.embedded == nil {
		return nil
	}
	return d.embedded.Done()
}

// close stops the server if this process started it.
func (d *database) close() error {
	if d.embedded == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return d.embedded.Stop(ctx)
}
