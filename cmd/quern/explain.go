package main

import (
	"context"
	"fmt"

	"quern/internal/proof"
)

type explainCommand struct {
	sqlcProject
	Name     string `arg:"" help:"The statement, as in its line -- name:."`
	Database string `placeholder:"URL" help:"Plan it on this database, with its statistics. Defaults to an empty database with the project's schema."`
}

// Help is what quern help explain adds.
func (explainCommand) Help() string {
	return `Prints the SQL of a statement and its generic plan, which serves every argument. The
statement is not executed. On an empty database the planner sees no rows, so the costs
say nothing there, and it may prefer a sequential scan.`
}

// Run prints the plan.
func (c explainCommand) Run(ctx context.Context, a *app) error {
	p, statements, err := c.load()
	if err != nil {
		return err
	}
	s, err := named(statements, c.Name)
	if err != nil {
		return err
	}
	explain := func(url string) error {
		tree, err := proof.PlanTree(ctx, url, s)
		if err != nil {
			return fmt.Errorf("explain %s: %w", s.Name, err)
		}
		fmt.Fprintf(a.stdout, "%s\n%s", s.SQL, tree)
		return nil
	}
	if c.Database != "" {
		return explain(c.Database)
	}
	return c.migrated(ctx, a, p, explain)
}
