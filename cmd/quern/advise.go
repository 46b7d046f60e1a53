package main

import (
	"context"
	"fmt"
	"slices"

	"quern/internal/proof"
)

type adviseCommand struct {
	sqlcProject
	Names []string `arg:"" optional:"" help:"The statements. Defaults to all."`
}

// Help is what quern help advise adds.
func (adviseCommand) Help() string {
	return `Names an index for each statement that has none for its conditions. Each index was
created on an empty database with the project's schema, and the statement's generic plan
used it. An index costs every write of its table: create those that a frequent statement
needs. A statement that reads many rows on purpose needs none.`
}

// Run prints the advice.
func (c adviseCommand) Run(ctx context.Context, a *app) error {
	p, statements, err := c.load()
	if err != nil {
		return err
	}
	if len(c.Names) > 0 {
		chosen := statements[:0:0]
		for _, name := range c.Names {
			s, err := named(statements, name)
			if err != nil {
				return err
			}
			chosen = append(chosen, s)
		}
		statements = chosen
	}
	return c.migrated(ctx, a, p, func(url string) error {
		advice, err := proof.Advise(ctx, url, statements)
		if err != nil {
			return fmt.Errorf("look for indexes: %w", err)
		}
		for _, found := range advice {
			s := found.Statement
			fmt.Fprintf(a.stdout, "%s: %s\n", place(p, s), found.Problem)
			if found.Index != "" {
				fmt.Fprintf(a.stdout, "    %s;\n", found.Index)
			} else {
				fmt.Fprintln(a.stdout, "    no index of its columns serves it: rewrite the condition, or index an expression")
			}
		}
		served := len(slices.DeleteFunc(slices.Clone(advice), func(f proof.Advice) bool { return f.Index == "" }))
		fmt.Fprintf(a.stdout, "%s looked at: %d without an index for all conditions, and an index serves %d of these.\n",
			count(len(statements), "statement"), len(advice), served)
		return nil
	})
}
