package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"quern/internal/proof"
	"quern/postgres"
)

type plansCommand struct {
	sqlcProject
	Database string `env:"DATABASE_URL" placeholder:"URL" help:"The live database. Defaults to an empty one with the project's schema."`
}

// Help is what quern help plans adds.
func (plansCommand) Help() string {
	return `Each statement with @plan is planned in a read-only transaction, with its generic plan.
The command exits 1 if an index of @plan is missing or INVALID, or if only a sequential
scan can serve a statement. The size of the tables does not matter. Indexes that the
migrations create and the database lacks are named.`
}

// Run checks the plans of a live database.
func (c plansCommand) Run(ctx context.Context, a *app) error {
	p, statements, err := c.load()
	if err != nil {
		return err
	}
	var problems []proof.Problem
	check := func(url string) error {
		config, _, err := postgres.Config{URL: url}.ConnConfig()
		if err != nil {
			return usageError{err}
		}
		problems, err = proof.Plans(ctx, config, statements)
		return err
	}
	if c.Database != "" {
		err = check(c.Database)
	} else {
		err = c.migrated(ctx, a, p, check)
	}
	if err != nil {
		return fmt.Errorf("check the plans: %w", err)
	}
	checked := 0
	for _, s := range statements {
		if s.Plan != "" && s.DerivedFrom == "" {
			checked++
		}
	}
	if len(problems) == 0 {
		fmt.Fprintf(a.stdout, "%s with @plan can keep it.\n", count(checked, "statement"))
		return nil
	}
	for _, problem := range problems {
		fmt.Fprintf(a.stdout, "%s: %s\n", place(p, problem.Statement), problem.Text)
	}
	failed := fmt.Errorf("%s of %d cannot keep @plan, listed above", count(len(problems), "statement"), checked)
	if c.Database == "" {
		return failed
	}
	err = c.migrated(ctx, a, p, func(url string) error {
		missing, err := missingIndexes(ctx, url, c.Database)
		for _, index := range missing {
			fmt.Fprintf(a.stdout, "the database lacks an index of the migrations: %s\n", index)
		}
		return err
	})
	if err != nil {
		return err
	}
	return failed
}

// missingIndexes returns the definitions of indexes of one database that another one
// lacks, or has as INVALID.
func missingIndexes(ctx context.Context, wanted, live string) ([]string, error) {
	there, err := indexes(ctx, live)
	if err != nil {
		return nil, err
	}
	want, err := indexes(ctx, wanted)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, definition := range want {
		if !slices.Contains(there, definition) {
			missing = append(missing, definition)
		}
	}
	return missing, nil
}

// indexes returns the definitions of the valid indexes of a database, in the order of
// their names.
func indexes(ctx context.Context, url string) ([]string, error) {
	conn, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	const of = `
		SELECT pg_get_indexdef(i.indexrelid)
		FROM pg_index AS i
		JOIN pg_class AS c ON c.oid = i.indrelid
		WHERE i.indisvalid AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace)
		ORDER BY i.indexrelid::regclass::text`
	rows, err := conn.Query(ctx, of)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
