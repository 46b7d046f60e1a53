package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	sqlc "quern/cmd/quern/internal/project"
	"quern/internal/proof"
	"quern/postgres"
)

type vetCommand struct {
	sqlcProject
	Distributed string `placeholder:"COLUMN" help:"Also say what breaks on a sharded PostgreSQL that distributes the tables by this column."`
	Ran         string `placeholder:"FILE" help:"Also name the statements that are not in this file. Tests with pgtest write it if QUERN_STATEMENTS names it."`
}

// Help is what quern help vet adds.
func (vetCommand) Help() string {
	return `The rules: no-limit, a list whose length grows with the table; no-where, a write to all
rows; select-star; function-on-index, a comparison that the index of a column cannot
serve; never-run and never-null, with --ran; all-shards, shard-join and shard-key, with --distributed.

A line of the doc comment excepts a statement from a rule, with the reason:

  -- quern:allow no-limit: there is one row per country`
}

// Run prints the findings.
func (c vetCommand) Run(ctx context.Context, a *app) error {
	p, statements, err := c.load()
	if err != nil {
		return err
	}
	findings, err := selectStar(p, statements)
	if err != nil {
		return err
	}
	if c.Ran != "" {
		idle, err := neverRun(c.Ran, statements)
		if err != nil {
			return err
		}
		findings = append(findings, idle...)
	}
	err = c.migrated(ctx, a, p, func(url string) error {
		found, err := proof.Vet(ctx, url, statements)
		if err != nil {
			return err
		}
		findings = append(findings, found...)
		if c.Distributed == "" {
			return nil
		}
		found, err = proof.VetSharded(ctx, url, statements, c.Distributed)
		findings = append(findings, found...)
		return err
	})
	if err != nil {
		return fmt.Errorf("vet the statements: %w", err)
	}
	for _, f := range findings {
		if f.Statement.Name == "" {
			fmt.Fprintln(a.stdout, f) // the finding is about the schema
			continue
		}
		fmt.Fprintf(a.stdout, "%s: %s (%s)\n", place(p, f.Statement), f.Text, f.Rule)
	}
	if len(findings) > 0 {
		return fmt.Errorf("%s found, listed above: correct the statements, or except them with a reason (quern help vet)", count(len(findings), "problem"))
	}
	fmt.Fprintf(a.stdout, "%s and no problem.\n", count(len(statements), "statement"))
	return nil
}

var (
	queryName = regexp.MustCompile(`(?m)^--\s*name:\s*(\w+)\s+:\w+`)
	skipped   = regexp.MustCompile(`(?s)--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'`)
	star      = regexp.MustCompile(`(?is)\b(?:select|returning)\s+(?:distinct\s+|all\s+)?(?:"?\w+"?\.)?\*|,\s*(?:"?\w+"?\.)?\*`)
	exists    = regexp.MustCompile(`(?is)\bexists\s*\(\s*select\s+\*`)
)

// selectStar finds statements that name their columns by *. sqlc writes the columns
// into its code, so only the SQL files show it.
func selectStar(p sqlc.Project, statements []postgres.Statement) (findings []proof.Finding, err error) {
	files := map[string]map[string]string{}
	for _, s := range statements {
		if s.DerivedFrom != "" {
			continue
		}
		if files[s.File] == nil {
			text, err := os.ReadFile(filepath.Join(p.Root, p.Queries, s.File))
			if err != nil {
				return nil, fmt.Errorf("read the queries: %w", err)
			}
			files[s.File] = splitQueries(string(text))
		}
		text := exists.ReplaceAllString(skipped.ReplaceAllString(files[s.File][s.Name], " "), "EXISTS (SELECT")
		if star.MatchString(text) && !proof.Allowed(s, proof.RuleSelectStar) {
			findings = append(findings, proof.Finding{
				Statement: s, Rule: proof.RuleSelectStar,
				Text: "* returns each column that a migration adds, so the generated type changes with the table: name the columns",
			})
		}
	}
	return findings, nil
}

// splitQueries returns the text of each query of a file, by its name.
func splitQueries(text string) map[string]string {
	queries := map[string]string{}
	matches := queryName.FindAllStringSubmatchIndex(text, -1)
	for i, m := range matches {
		end := len(text)
		if i+1 < len(matches) {
			end = matches[i+1][0]
		}
		queries[text[m[2]:m[3]]] = text[m[1]:end]
	}
	return queries
}

// neverRun finds statements that are not in a file, and nullable columns that are not in
// it as NULL.
func neverRun(name string, statements []postgres.Statement) (findings []proof.Finding, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the statements that tests ran: %w: run the tests with QUERN_STATEMENTS=%s", err, name)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	ran := map[string]bool{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		ran[strings.TrimSpace(lines.Text())] = true
	}
	for _, s := range statements {
		if s.DerivedFrom == "" && !ran[s.Name] && !proof.Allowed(s, proof.RuleNeverRun) {
			findings = append(findings, proof.Finding{
				Statement: s, Rule: proof.RuleNeverRun, Text: "no test runs it: add one, with a row that has NULL in each nullable column",
			})
			continue
		}
		var never []string
		for _, c := range s.Columns {
			if !c.NotNull && ran[s.Name] && !ran[s.Name+" "+c.Name] {
				never = append(never, c.Name)
			}
		}
		if s.DerivedFrom == "" && len(never) > 0 && !proof.Allowed(s, proof.RuleNeverNull) {
			findings = append(findings, proof.Finding{
				Statement: s, Rule: proof.RuleNeverNull, Text: fmt.Sprintf("no test reads a row with NULL in %s: add one", strings.Join(never, ", ")),
			})
		}
	}
	return findings, lines.Err()
}
