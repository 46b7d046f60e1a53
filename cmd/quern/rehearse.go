package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/cmd/quern/internal/rehearse"
	"quern/postgres/migrate"
)

type rehearseCommand struct {
	project
	From      int64         `default:"-1" placeholder:"VERSION" help:"Rehearse the migrations above this version, 0 for all."`
	Database  string        `placeholder:"URL" env:"DATABASE_URL" help:"A live database: rehearse what is pending there, with the sizes of its tables. It is only read."`
	StatsFrom string        `placeholder:"URL" help:"A database whose statistics say how many rows the tables have. It is only read. Defaults to --database, unless --from is given."`
	Rows      int64         `default:"10000" placeholder:"N" help:"How many rows each table gets at most. Without statistics, how many it counts as having."`
	Large     int64         `default:"10000" placeholder:"N" help:"From how many rows on a table is large. The rules are for large tables."`
	MaxLock   time.Duration `default:"1s" placeholder:"D" help:"How long a migration may hold ACCESS EXCLUSIVE on a large table."`
}

// Help is what `quern help rehearse` adds.
func (rehearseCommand) Help() string {
	return `Runs migrations on a scratch database whose tables have rows, and measures for each
statement the locks that it takes, the tables that it rewrites, and how long it lasts. Then it
runs Down and Up again, and compares the schemas.

Exit 0: no rule is broken. Exit 1: one is, or a failure. Exit 2: a wrong command line. The
rules are lock, rewrite, index, scan and down. A comment above a statement excepts it:

    -- quern:allow rewrite: the table has 12 rows`
}

// Run rehearses the migrations, and prints the measurements.
func (c rehearseCommand) Run(ctx context.Context, a *app) (err error) {
	from, err := c.version(ctx)
	if err != nil {
		return err
	}
	files, err := rehearse.Files(c.files(), from)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		fmt.Fprintln(a.stdout, "No migration is pending.")
		return nil
	}
	server, err := c.start(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	base, err := migrated(ctx, server, upTo(c.files(), files[0].Version-1), 0)
	if err != nil {
		return err
	}
	r := rehearse.Rehearsal{Server: server, Rows: c.Rows, Policy: rehearse.Policy{Large: c.Large, MaxLock: c.MaxLock}}
	if c.StatsFrom != "" {
		if r.Real, err = tableRows(ctx, c.StatsFrom); err != nil {
			return err
		}
	}
	results, err := r.Run(ctx, base, files)
	if err != nil {
		return err
	}
	return report(a, results)
}

// version returns the version after which migrations are rehearsed.
func (c *rehearseCommand) version(ctx context.Context) (int64, error) {
	if names, err := fs.Glob(c.files(), "*.sql"); err != nil || len(names) == 0 {
		return 0, usageError{fmt.Errorf("%s has no .sql file: name the folder of the migrations with --migrations", c.Migrations)}
	}
	if c.From >= 0 {
		return c.From, nil
	}
	if c.Database == "" {
		return 0, usageError{errors.New("the pending migrations are unknown: pass --database URL or --from VERSION")}
	}
	if c.StatsFrom == "" {
		c.StatsFrom = c.Database
	}
	m, err := migrate.New(migrate.Config{URL: c.Database, FS: c.files(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	status, err := m.Status(ctx)
	if err != nil {
		return 0, err
	}
	var last int64
	for _, s := range status {
		if s.OutOfOrder {
			return 0, fmt.Errorf("%s is pending and a newer migration is applied: pass --from %d to rehearse all from there", s.File, s.Version-1)
		}
		if s.Applied {
			last = s.Version
		}
	}
	return last, nil
}

// upTo is a folder without the migrations above a version.
func upTo(files fs.FS, version int64) fs.FS {
	has := map[string]bool{}
	all, err := rehearse.Files(files, 0)
	if err != nil {
		return files // the next reader returns the error
	}
	for _, f := range all {
		if f.Version <= version {
			has[f.Name] = true
		}
	}
	return subset{files, has}
}

// tableRows returns how many rows the tables of a database have, by its statistics. A table
// that was never analyzed is omitted.
func tableRows(ctx context.Context, url string) (map[string]int64, error) {
	conn, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT format('%I.%I', n.nspname, c.relname), c.reltuples::bigint
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p', 'm') AND c.reltuples >= 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`)
	if err != nil {
		return nil, err
	}
	all := map[string]int64{}
	var (
		name string
		n    int64
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		all[name] = n
		return nil
	})
	return all, err
}

// report prints the results, and returns an error if a rule is broken.
func report(a *app, results []rehearse.Result) error {
	broken := 0
	for _, r := range results {
		broken += r.Broken()
		how := "one transaction"
		if r.File.NoTx {
			how = "no transaction"
		}
		fmt.Fprintf(a.stdout, "%s (%s)\n", r.File.Name, how)
		for _, note := range r.Notes {
			fmt.Fprintln(a.stdout, "    note: "+note)
		}
		for i, m := range r.Statements {
			printStatement(a, m)
			if i < len(r.Findings) {
				printFindings(a, "        ", r.Findings[i])
			}
		}
		switch {
		case r.Err != nil:
			fmt.Fprintf(a.stdout, "    FAILS: %v\n", oneLine(r.Err.Error()))
		case len(r.Down) > 0:
			printFindings(a, "    ", r.Down)
		default:
			fmt.Fprintln(a.stdout, "    Down undoes it, and Up gives the same schema again.")
		}
	}
	if broken > 0 {
		return fmt.Errorf("%s found, listed above: use the safe form, or exempt the statement by a comment above it: -- quern:allow RULE: REASON", count(broken, "problem"))
	}
	return nil
}

// printStatement prints the effects of one statement.
func printStatement(a *app, m rehearse.Measured) {
	fmt.Fprintf(a.stdout, "    %d: %s  %s\n", m.Statement.Line, shortSQL(m.Statement.SQL), m.Duration.Round(100*time.Microsecond))
	byMode := map[string][]string{}
	for table, mode := range m.Taken {
		byMode[mode] = append(byMode[mode], table)
	}
	for _, mode := range slices.SortedFunc(maps.Keys(byMode), func(x, y string) int {
		if rehearse.Stronger(x, y) {
			return -1
		}
		return 1
	}) {
		slices.Sort(byMode[mode])
		fmt.Fprintf(a.stdout, "        %s: %s\n", mode, strings.Join(byMode[mode], ", "))
	}
	if len(m.Rewritten) > 0 {
		fmt.Fprintf(a.stdout, "        rewritten: %s\n", strings.Join(m.Rewritten, ", "))
	}
}

func printFindings(a *app, indent string, list []rehearse.Finding) {
	for _, f := range list {
		if f.Reason != "" {
			fmt.Fprintf(a.stdout, "%sallowed (%s): %s: %s\n", indent, f.Rule, f.Reason, oneLine(f.Text))
			continue
		}
		fmt.Fprintf(a.stdout, "%s! %s: %s\n", indent, f.Rule, oneLine(f.Text))
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

var comment = regexp.MustCompile(`(?m)(^|\s)--.*$`)

// shortSQL is the beginning of a statement.
func shortSQL(sql string) string {
	const longest = 90
	sql = strings.TrimSuffix(oneLine(comment.ReplaceAllString(sql, "")), ";")
	if runes := []rune(sql); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return sql
}
