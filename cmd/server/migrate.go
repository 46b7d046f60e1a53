package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"quern/postgres"
	"quern/postgres/migrate"
)

type migrateCommand struct {
	Up      migrateUp      `cmd:"" help:"Apply every pending migration."`
	Down    migrateDown    `cmd:"" help:"Undo the last migration."`
	Redo    migrateRedo    `cmd:"" help:"Undo the last migration and apply it again."`
	To      migrateTo      `cmd:"" help:"Apply or undo migrations until VERSION is the last one applied; 0 undoes all of them."`
	Status  migrateStatus  `cmd:"" help:"List the migrations of this binary and of the database, and whether each is applied."`
	Version migrateVersion `cmd:"" help:"Print the last migration applied and the last one of this binary."`
	Create  migrateCreate  `cmd:"" help:"Create an empty migration file with the next number."`
}

type (
	migrateUp struct {
		AllowOutOfOrder bool `help:"Also apply pending migrations that are older than the last one applied."`
	}
	migrateDown struct{}
	migrateRedo struct{}
	migrateTo   struct {
		Number int64 `arg:"" name:"version" help:"The number at the beginning of the file name."`
	}
	migrateStatus  struct{}
	migrateVersion struct{}
	migrateCreate  struct {
		Name string `arg:"" help:"What the migration does, starting with a verb, such as add_posts_index."`
		Dir  string `default:"migrations" help:"Directory of the file."`
	}
)

func (c migrateUp) Run(ctx context.Context, a *app) error {
	a.outOfOrder = c.AllowOutOfOrder
	return a.change(ctx, (*migrate.Migrator).Up)
}

func (migrateDown) Run(ctx context.Context, a *app) error {
	return a.change(ctx, (*migrate.Migrator).Down)
}

func (migrateRedo) Run(ctx context.Context, a *app) error {
	return a.change(ctx, (*migrate.Migrator).Redo)
}

func (c migrateTo) Run(ctx context.Context, a *app) error {
	return a.change(ctx, func(m *migrate.Migrator, ctx context.Context) ([]migrate.Result, error) {
		return m.To(ctx, c.Number)
	})
}

// change runs act, which applies or undoes migrations. It prints the finished
// migrations even if act fails.
func (a *app) change(ctx context.Context, act func(*migrate.Migrator, context.Context) ([]migrate.Result, error)) error {
	if a.settings.pooled() {
		return errors.New("migrate: migrations hold a session lock, and a pooler may give each statement another session: " +
			"for this command, set DATABASE_URL to the PostgreSQL server itself and POOLER=none")
	}
	return a.withMigrator(ctx, func(m *migrate.Migrator) error {
		results, err := act(m, ctx)
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		for _, r := range results {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.Direction, r.File, r.Duration.Round(time.Millisecond/10))
		}
		if err := errors.Join(w.Flush(), err); err != nil {
			return err
		}
		if len(results) > 0 {
			return nil
		}
		current, _, err := m.Version(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "nothing to do: the schema is at version %d\n", current)
		return err
	})
}

func (migrateStatus) Run(ctx context.Context, a *app) error {
	return a.withMigrator(ctx, func(m *migrate.Migrator) error {
		list, err := m.Status(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "VERSION\tFILE\tSTATE\tAPPLIED AT")
		for _, s := range list {
			state, at, file := "pending", "-", s.File
			if s.Applied {
				state = "applied"
			}
			if s.OutOfOrder {
				state = "pending, out of order"
			}
			if s.Missing {
				state, file = "applied, not in this binary", "-"
			}
			if !s.AppliedAt.IsZero() {
				at = s.AppliedAt.Format(time.RFC3339)
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", s.Version, file, state, at)
		}
		return w.Flush()
	})
}

func (migrateVersion) Run(ctx context.Context, a *app) error {
	return a.withMigrator(ctx, func(m *migrate.Migrator) error {
		current, latest, err := m.Version(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%d of %d\n", current, latest)
		return err
	})
}

// Run creates the file. It needs no database.
func (c migrateCreate) Run(a *app) error {
	path, err := migrate.Create(c.Dir, c.Name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, path)
	return err
}

// withMigrator calls act with a Migrator for the database. If the database is the
// embedded one and is not running, it is started for the call.
func (a *app) withMigrator(ctx context.Context, act func(*migrate.Migrator) error) (err error) {
	d, err := a.joinDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	// Connect waits for a server that is still starting; a Migrator does not.
	router, err := postgres.Connect(ctx, a.settings.onePostgres(d.url, a.log))
	if err != nil {
		return err
	}
	router.Close()
	m, err := a.newMigrator(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return act(m)
}
