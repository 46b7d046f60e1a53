package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"quern/cmd/quern/internal/scratch"
	"quern/internal/proof"
	"quern/postgres"
)

type compatCommand struct {
	sqlcProject
	Base      string `arg:"" placeholder:"REF" help:"The release that runs now: a tag, branch or commit."`
	CodeFirst bool   `help:"Fail, too, if a new statement needs the pending migrations. Use it if the new code is deployed before they are applied."`
}

// Help is what quern help compat adds.
func (compatCommand) Help() string {
	return `While a deployment runs, processes of the base release send their statements to the
migrated schema. This command prepares and plans every statement of the base release
on the schema with all migrations, and compares types, nullability, columns that must
be written and values of enums. It exits 1 if a statement would fail, and says how to
make the change in two releases. It needs no database.`
}

// Run compares the statements of both releases with both schemas.
func (c compatCommand) Run(ctx context.Context, a *app) (err error) {
	p, statements, err := c.load()
	if err != nil {
		return err
	}
	ref := strings.TrimPrefix(c.Base, "BASE=")
	base, err := p.At(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base.Migrations)) }()
	return c.onScratch(ctx, a, func(s *scratch.Server) error {
		before, err := migrated(ctx, s, os.DirFS(base.Migrations), 0)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		after, err := migrated(ctx, s, p.FS(), 0)
		if err != nil {
			return err
		}
		broken, err := proof.Incompatible(ctx, before, after, base.Statements)
		if err != nil {
			return err
		}
		added := newStatements(base.Statements, statements)
		early, err := proof.Incompatible(ctx, after, before, added)
		if err != nil {
			return err
		}
		release := fmt.Sprintf("%s (%s)", ref, base.Commit)
		for _, b := range broken {
			fmt.Fprintf(a.stdout, "%s of release %s fails on the new schema: %s: %s\n", place(p, b.Statement), release, b.Text, b.Hint)
		}
		var names []string
		for _, e := range early {
			names = append(names, e.Statement.Name)
			if c.CodeFirst {
				fmt.Fprintf(a.stdout, "%s is new, and fails on the schema of release %s: %s: apply the migrations before the new code runs\n",
					place(p, e.Statement), release, e.Text)
			}
		}
		if len(early) > 0 && !c.CodeFirst {
			fmt.Fprintf(a.stdout, "apply the pending migrations before the new code runs, because %s would fail without them: %s\n",
				count(len(early), "new statement"), strings.Join(names, ", "))
		}
		failures := len(broken)
		if c.CodeFirst {
			failures += len(early)
		}
		if failures > 0 {
			return fmt.Errorf("%s found between release %s and the current files, listed above: change the schema in two releases", count(failures, "problem"), release)
		}
		fmt.Fprintf(a.stdout, "%s of release %s and %s run on both schemas, if the migrations are applied first.\n",
			count(len(base.Statements), "statement"), release, count(len(added), "new or changed statement"))
		return nil
	})
}

// newStatements returns those that the base release does not send.
func newStatements(base, now []postgres.Statement) []postgres.Statement {
	return slices.DeleteFunc(slices.Clone(now), func(s postgres.Statement) bool {
		return slices.ContainsFunc(base, func(b postgres.Statement) bool { return b.SQL == s.SQL })
	})
}
