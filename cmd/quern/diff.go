package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"quern/cmd/quern/internal/catalog"
	"quern/cmd/quern/internal/plan"
	"quern/cmd/quern/internal/scratch"
)

type diffCommand struct {
	project
	Name       string `arg:"" help:"What the change does, such as add_posts_index."`
	To         string `type:"existingfile" placeholder:"FILE" xor:"to" help:"The desired schema, a script of statements. Defaults to schema.sql."`
	ToDatabase string `placeholder:"URL" xor:"to" help:"A live database that has the desired schema. It is only read."`
}

// Help is what `quern help diff` adds.
func (diffCommand) Help() string {
	return `Writes the migration from the schema that the migrations give to the desired one, with Up,
Down and its hazards as comments. It runs both on a scratch database first. A statement
that cannot run in a transaction, and one that validates a constraint, gets a file of its own.

A renamed table or column looks like one that was dropped and another that was added, whose rows are
lost: write RENAME by hand.

Exit 0: the migrations now give the desired schema. Exit 1: they do not, or a failure. Exit 2:
a wrong command line.`
}

// Run writes the migrations.
func (c diffCommand) Run(ctx context.Context, a *app) (err error) {
	numbers, err := numbering(c.Migrations)
	if err != nil {
		return err
	}
	name := fileName(c.Name)
	if name == "" {
		return usageError{fmt.Errorf("%q: not a name: use letters, such as add_posts_index", c.Name)}
	}
	if c.ToDatabase == "" && c.To == "" {
		c.To = "schema.sql"
		if _, err := os.Stat(c.To); err != nil {
			return usageError{errors.New("no desired schema: name it with --to FILE or --to-database URL")}
		}
	}
	server, err := c.start(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	before, err := migrated(ctx, server, c.files(), 0)
	if err != nil {
		return err
	}
	desired, err := c.desired(ctx, server)
	if err != nil {
		return err
	}
	planner := c.planner(server)
	if c.ToDatabase != "" {
		if planner.Role, err = rolesOf(ctx, before); err != nil {
			return err
		}
	}
	steps, err := planner.Steps(ctx, before, desired, true)
	if err != nil {
		return err
	}
	renames, err := planner.Renames(ctx, before, desired)
	if err != nil {
		return err
	}
	pieces, err := planner.Pieces(ctx, before, steps.Statements)
	if err != nil {
		return err
	}
	files := map[string]string{}
	var names []string
	for i, piece := range pieces {
		if i == 0 {
			piece.Notes = renames
		}
		title := strings.ReplaceAll(name, "_", " ")
		file := numbers.file(i, name)
		if i > 0 {
			file = numbers.file(i, fmt.Sprintf("%s_%d", name, i+1))
			title = fmt.Sprintf("%s, step %d", title, i+1)
		}
		files[file] = piece.Text(title + ": written by `quern diff`. `quern rehearse` measures what it locks.")
		names = append(names, file)
	}
	if err := c.prove(ctx, planner, before, desired, files, numbers.last, len(steps.Left)); err != nil {
		return err
	}
	if err := c.write(a, names, files); err != nil {
		return err
	}
	return c.report(a, names, append(plan.Hazards(steps.Statements), renames...), steps.Left)
}

// planner plans on the server. The runtime's tables are kept when the desired schema does
// not mention them.
func (c diffCommand) planner(server *scratch.Server) *plan.Planner {
	return &plan.Planner{Server: server, Keep: func(o *catalog.Object) bool { return runtimeTable(o) != "" }}
}

// desired returns the URL of a database with the desired schema.
func (c diffCommand) desired(ctx context.Context, server *scratch.Server) (string, error) {
	if c.ToDatabase != "" {
		return c.ToDatabase, nil
	}
	text, err := os.ReadFile(c.To)
	if err != nil {
		return "", err
	}
	url, err := server.Create(ctx)
	if err != nil {
		return "", err
	}
	if err := server.Exec(ctx, url, withoutMeta(string(text))); err != nil {
		return "", fmt.Errorf("run %s on a scratch database: %w", c.To, err)
	}
	return url, nil
}

// withoutMeta blanks the lines that are commands of psql, which pg_dump writes.
func withoutMeta(script string) string {
	var b strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, `\`) {
			line = "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// rolesOf returns a function that reports whether the grants of the migrations name a role. A
// live database has further roles that an operator created.
func rolesOf(ctx context.Context, url string) (func(string) bool, error) {
	schema, err := plan.Read(ctx, url)
	if err != nil {
		return nil, err
	}
	has := map[string]bool{"PUBLIC": true}
	for _, o := range schema.Objects {
		if o.Kind == "grant" {
			_, role, _ := strings.Cut(o.Name, " TO ")
			has[strings.Trim(role, `"`)] = true
		}
	}
	return func(role string) bool { return has[role] }, nil
}

// prove runs the new files with goose, up and down, and compares the schemas. After Up the
// schema must be the desired one, except for the differences in left. After Down it must be the
// previous one.
func (c diffCommand) prove(ctx context.Context, p *plan.Planner, before, desired string, files map[string]string, last int64, left int) error {
	dir, err := os.MkdirTemp("", "quern-diff-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyFiles(dir, c.files(), files); err != nil {
		return err
	}
	work, err := p.Server.Clone(ctx, before)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return nil
	}
	if err := p.Server.Migrate(ctx, work, os.DirFS(dir), 0); err != nil {
		return err
	}
	if err := sameSchema(ctx, p, desired, work, left, "the migration does not give the desired schema"); err != nil {
		return err
	}
	if err := p.Server.Rollback(ctx, work, os.DirFS(dir), last); err != nil {
		return err
	}
	notUndone := 0
	for _, text := range files {
		notUndone += strings.Count(text, "\n-- Not undone: ")
	}
	return sameSchema(ctx, &plan.Planner{Server: p.Server}, before, work, notUndone, "Down does not bring the schema before it back")
}

func sameSchema(ctx context.Context, p *plan.Planner, want, have string, allowed int, failure string) error {
	w, err := plan.Read(ctx, want)
	if err != nil {
		return err
	}
	h, err := plan.Read(ctx, have)
	if err != nil {
		return err
	}
	if differences := p.Differences(w, h); len(differences) > allowed {
		return fmt.Errorf("%s: %s: write this change by hand", failure, differences[0].Subject())
	}
	return nil
}

func copyFiles(dir string, from fs.FS, more map[string]string) error {
	names, err := fs.Glob(from, "*.sql")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	for name, text := range more {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c diffCommand) write(a *app, names []string, files map[string]string) error {
	for _, name := range names {
		path := filepath.Join(c.Migrations, name)
		if err := os.WriteFile(path, []byte(files[name]), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, path)
	}
	return nil
}

// report prints the hazards for a reader of the files, and the differences that they do not cover.
func (c diffCommand) report(a *app, names, hazards []string, left []catalog.Difference) error {
	if len(names) == 0 && len(left) == 0 {
		fmt.Fprintln(a.stdout, "The migrations give the desired schema.")
		return nil
	}
	for _, h := range hazards {
		fmt.Fprintln(a.stdout, "hazard: "+h)
	}
	for _, d := range left {
		fmt.Fprintln(a.stdout, "not covered: "+d.Subject())
	}
	if len(left) > 0 {
		return fmt.Errorf("the migration leaves %s, listed above: add the statements by hand", count(len(left), "difference"))
	}
	return nil
}
