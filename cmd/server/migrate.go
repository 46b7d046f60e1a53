package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"quern/postgres"
	"quern/postgres/migrate"
)

type migrateCommand struct {
	Up       migrateUp       `cmd:"" help:"Apply every pending migration."`
	Down     migrateDown     `cmd:"" help:"Undo the last migration."`
	Redo     migrateRedo     `cmd:"" help:"Undo the last migration and apply it again."`
	To       migrateTo       `cmd:"" help:"Apply or undo migrations until VERSION is the last one applied; 0 undoes all of them."`
	Status   migrateStatus   `cmd:"" help:"List the migrations of this binary and of the database, and whether each is applied."`
	Version  migrateVersion  `cmd:"" help:"Print the last migration applied and the last one of this binary."`
	History  migrateHistory  `cmd:"" help:"List which migrations were applied and undone, when, by which role and how long they took."`
	Baseline migrateBaseline `cmd:"" help:"Record all migrations up to VERSION as applied, without running them: for a database that has their schema already."`
	Check    migrateCheck    `cmd:"" help:"Check the migration files: edited, lost, double and missing ones. It needs no database."`
	Sum      migrateSum      `cmd:"" help:"Add the checksums of new migration files, by which edited ones are found, to migrations.sum beside their directory."`
	Create   migrateCreate   `cmd:"" help:"Create an empty migration file with the next number."`
}

type (
	migrateUp struct {
		DryRun          bool `help:"Print the SQL that would be run, and run nothing."`
		AllowOutOfOrder bool `help:"Also apply pending migrations that are older than the last one applied."`
	}
	migrateDown struct {
		DryRun bool `help:"Print the SQL that would be run, and run nothing."`
	}
	migrateRedo struct{}
	migrateTo   struct {
		Number int64 `arg:"" name:"version" help:"The number at the beginning of the file name."`
		DryRun bool  `help:"Print the SQL that would be run, and run nothing."`
	}
	migrateStatus   struct{}
	migrateVersion  struct{}
	migrateHistory  struct{}
	migrateBaseline struct {
		Number int64 `arg:"" name:"version" help:"The last migration whose schema the database has."`
	}
	migrateCheck struct {
		Dir string `default:"migrations" help:"Directory of the files."`
	}
	migrateSum struct {
		Dir     string `default:"migrations" help:"Directory of the files."`
		Rewrite bool   `help:"Write all checksums again, also those of edited files. Only if no database has them."`
	}
	migrateCreate struct {
		Name string `arg:"" help:"What the migration does, starting with a verb, such as add_posts_index."`
		Dir  string `default:"migrations" help:"Directory of the file."`
	}
)

func (c migrateUp) Run(ctx context.Context, a *app) error {
	a.outOfOrder = c.AllowOutOfOrder
	if c.DryRun {
		return a.dryRun(ctx, (*migrate.Migrator).PlanUp)
	}
	return a.change(ctx, (*migrate.Migrator).Up)
}

func (c migrateDown) Run(ctx context.Context, a *app) error {
	if c.DryRun {
		return a.dryRun(ctx, (*migrate.Migrator).PlanDown)
	}
	return a.change(ctx, (*migrate.Migrator).Down)
}

func (migrateRedo) Run(ctx context.Context, a *app) error {
	return a.change(ctx, (*migrate.Migrator).Redo)
}

func (c migrateTo) Run(ctx context.Context, a *app) error {
	if c.DryRun {
		return a.dryRun(ctx, func(m *migrate.Migrator, ctx context.Context) ([]migrate.Step, error) { return m.PlanTo(ctx, c.Number) })
	}
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

// dryRun prints the SQL of the steps that plan returns.
func (a *app) dryRun(ctx context.Context, plan func(*migrate.Migrator, context.Context) ([]migrate.Step, error)) error {
	return a.withMigrator(ctx, func(m *migrate.Migrator) error {
		steps, err := plan(m, ctx)
		if err != nil {
			return err
		}
		for _, s := range steps {
			fmt.Fprintf(a.stdout, "-- %s %s\n%s\n", s.Direction, s.File, s.SQL)
		}
		_, err = fmt.Fprintf(a.stdout, "-- Dry run: %s would be run, and nothing was.\n", count(len(steps), "migration"))
		return err
	})
}

func (migrateHistory) Run(ctx context.Context, a *app) error {
	return a.withMigrator(ctx, func(m *migrate.Migrator) error {
		runs, err := m.History(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "VERSION\tDIRECTION\tFILE\tFINISHED AT\tDURATION\tROLE\tAPPLICATION")
		for _, r := range runs {
			file, duration := cmp.Or(r.File, "-"), "-"
			if r.Duration >= 0 {
				duration = r.Duration.Round(time.Millisecond / 10).String()
			}
			if r.Edited {
				file += " (edited since)"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Version, r.Direction, file, r.FinishedAt.Format(time.RFC3339), duration,
				cmp.Or(r.Role, "-"), cmp.Or(r.Application, "-"))
		}
		return w.Flush()
	})
}

// Run records the migrations. It changes nothing else.
func (c migrateBaseline) Run(ctx context.Context, a *app) error {
	return a.withMigrator(ctx, func(m *migrate.Migrator) error {
		versions, err := m.Baseline(ctx, c.Number)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s recorded as applied, up to version %d. Compare the schemas with `quern drift`.\n",
			count(len(versions), "migration"), c.Number)
		return err
	})
}

// Run checks the files.
func (c migrateCheck) Run(a *app) error {
	if err := migrate.Check(c.Dir); err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintln(a.stdout, strings.TrimSpace(line))
		}
		return fmt.Errorf("migrate check: the files in %s have the problems listed above", c.Dir)
	}
	_, err := fmt.Fprintf(a.stdout, "the files in %s are right\n", c.Dir)
	return err
}

// Run writes the file.
func (c migrateSum) Run(a *app) error {
	write := migrate.AddSums
	if c.Rewrite {
		write = migrate.WriteSum
	}
	if err := write(c.Dir); err != nil {
		return fmt.Errorf("migrate sum: %w", err)
	}
	_, err := fmt.Fprintln(a.stdout, migrate.SumFile(c.Dir))
	return err
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
