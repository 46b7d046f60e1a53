package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"quern/cmd/quern/internal/catalog"
	sqlc "quern/cmd/quern/internal/project"
	"quern/postgres"
	"quern/postgres/migrate"
)

type driftCommand struct {
	project
	Database   string `placeholder:"URL" env:"DATABASE_URL" help:"The live database. It is only read."`
	Comments   bool   `help:"Compare comments too."`
	Statements string `type:"existingfile" placeholder:"FILE" help:"A statements.json, to find the grants that its statements need and the role lacks."`
	Role       string `placeholder:"NAME" help:"The role of the application, for --statements. Defaults to the role of the URL."`
}

// Help is what `quern help drift` adds.
func (driftCommand) Help() string {
	return `Compares a live database with the schema that its migrations give, and prints each
difference as a comment with the statements that remove it. The migrations that goose has
applied there are run on a scratch database. A pending migration is no drift.

Exit 0: no drift. Exit 1: drift, or a failure. Exit 2: a wrong command line.`
}

// Run compares the schemas and prints the differences.
func (c driftCommand) Run(ctx context.Context, a *app) (err error) {
	if c.Database == "" {
		return usageError{errors.New("no database: name it with --database or DATABASE_URL")}
	}
	files, lost, err := c.applied(ctx, a)
	if err != nil {
		return err
	}
	server, err := c.start(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	url, err := migrated(ctx, server, files, 0)
	if err != nil {
		return err
	}
	opts := catalog.Options{Comments: c.Comments}
	want, err := readSchema(ctx, url, opts)
	if err != nil {
		return err
	}
	have, err := readSchema(ctx, c.Database, opts)
	if err != nil {
		return err
	}
	if want.Version/10000 != have.Version/10000 {
		fmt.Fprintf(a.stdout, "-- The database runs PostgreSQL %d and the migrations were run on %d, which may write the same expression differently: see --binaries.\n",
			have.Version/10000, want.Version/10000)
	}
	n := printDrift(a.stdout, catalog.Compare(want, have))
	missing, err := c.grants(ctx, a.stdout)
	if err != nil {
		return err
	}
	if n += lost + missing; n > 0 {
		return fmt.Errorf("%s between the database and its migrations: run the statements above to remove them, "+
			"or write a migration that keeps them with `quern diff NAME --to-database URL`", count(n, "difference"))
	}
	fmt.Fprintln(a.stdout, "-- No drift.")
	return nil
}

// applied reports at which version the database is, and returns the migrations that were
// applied to it. If goose's table of versions does not exist, these are all migrations. lost is
// the number of applied versions that have no file.
func (c driftCommand) applied(ctx context.Context, a *app) (files fs.FS, lost int, err error) {
	files = c.files()
	if names, err := fs.Glob(files, "*.sql"); err != nil || len(names) == 0 {
		return nil, 0, usageError{fmt.Errorf("%s has no .sql file: name the folder of the migrations with --migrations", c.Migrations)}
	}
	m, err := migrate.New(migrate.Config{URL: c.Database, FS: files, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, 0, err
	}
	defer m.Close()
	status, err := m.Status(ctx)
	if err != nil {
		return nil, 0, err
	}
	has := map[string]bool{}
	var pending []string
	for _, s := range status {
		switch {
		case s.Missing:
			lost++
			fmt.Fprintf(a.stdout, "-- Version %d is applied and has no file in %s: check out the release that was deployed last.\n", s.Version, c.Migrations)
		case s.Applied:
			has[s.File] = true
		default:
			pending = append(pending, s.File)
		}
	}
	switch {
	case len(has) == 0 && lost == 0:
		fmt.Fprintln(a.stdout, "-- goose has applied no migration here: compared with all of them.")
		return files, 0, nil
	case len(pending) > 0:
		fmt.Fprintf(a.stdout, "-- %d migrations are pending: %s. Compared with those that are applied.\n", len(pending), strings.Join(pending, ", "))
	}
	return subset{files, has}, lost, nil
}

// printDrift prints the differences and returns how many there are. A table of the runtime that
// only the database has is expected, so it does not count.
func printDrift(w io.Writer, list []catalog.Difference) (n int) {
	for _, d := range list {
		if d.Want == nil && runtimeTable(d.Have) != "" {
			fmt.Fprintf(w, "-- %s: the runtime's own, and not in the migrations: `quern tables` prints its migration.\n", d.Have.Key())
			continue
		}
		fix := d.Fix()
		if !d.Within {
			n++
			fmt.Fprintln(w, "-- "+d.String()+hint(d, len(fix) > 0))
		}
		for _, statement := range fix {
			fmt.Fprintln(w, statement+";")
		}
	}
	return n
}

// hint returns advice beyond the statements.
func hint(d catalog.Difference, fixed bool) string {
	switch {
	case d.Have == nil && d.Want.Kind == "table" && runtimeTable(d.Want) != "":
		return ": " + runtimeTables[runtimeTable(d.Want)]
	case d.Want == nil && (d.Have.Kind == "table" || d.Have.Kind == "column"):
		return ": dropping it deletes its data"
	case d.Want == nil && !fixed, d.Have == nil && !fixed:
		return ": it is compared by its name alone"
	case !fixed:
		return ": PostgreSQL cannot change it in place, so create it anew"
	}
	return ""
}

// grants prints the grants that the statements of the registry need and the role lacks.
func (c driftCommand) grants(ctx context.Context, w io.Writer) (n int, err error) {
	if c.Statements == "" {
		return 0, nil
	}
	statements, err := sqlc.ReadStatements(c.Statements)
	if err != nil {
		return 0, err
	}
	conn, err := connect(ctx, c.Database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	if c.Role != "" {
		if _, err := conn.Exec(ctx, "SELECT set_config('role', $1, false)", c.Role); err != nil {
			return 0, fmt.Errorf("set role %s: %w: name a role of the server of which the role of the URL is a member", c.Role, err)
		}
	}
	missing, err := postgres.FindMissingGrants(ctx, conn, statements)
	if err != nil {
		return 0, fmt.Errorf("look for missing grants: %w", err)
	}
	for _, m := range missing {
		if m.Err != nil {
			fmt.Fprintf(w, "-- %s: %v\n", strings.Join(m.Statements, ", "), m.Err)
			continue
		}
		fmt.Fprintf(w, "-- %s: %s is not granted, which %s need\n%s;\n", m.Object, strings.Join(m.Privileges, ", "), strings.Join(m.Statements, ", "), m.Grant)
	}
	return len(missing), nil
}
