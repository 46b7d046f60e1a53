// Package plan finds the statements that turn one schema into another, and writes them as
// goose migrations.
//
//	Planner, Steps   plan.go    the statements from one database to another
//	Pieces, Piece    pieces.go  which of them share a migration, and how each is undone
//
// Most statements come from github.com/stripe/pg-schema-diff. Package catalog has those for the
// kinds of objects that it does not know, such as domains, comments and rules. Each step is
// tried on a scratch database.
package plan

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stripe/pg-schema-diff/pkg/diff"

	"quern/cmd/quern/internal/catalog"
	"quern/cmd/quern/internal/scratch"
	"quern/postgres"
)

// Statement is one statement of a migration.
type Statement struct {
	SQL     string // without a semicolon
	New     bool   // on a table that the same plan creates
	Hazards []string
}

// Planner plans on a scratch server.
type Planner struct {
	Server *scratch.Server

	// Keep selects the tables that are not dropped if the other schema lacks them.
	Keep func(*catalog.Object) bool

	// Role reports whether grants to a role are planned. Defaults to all.
	Role func(string) bool
}

// Steps are the statements from one schema to another.
type Steps struct {
	Statements []Statement

	// Left are the differences that no statement removes.
	Left []catalog.Difference
}

// Steps returns the statements that change the schema of the database from to that of the
// database to. Create or Clone must have made from. It runs the statements on a clone of from,
// and only reads to. If concurrent is false, no statement needs to run outside of a
// transaction.
func (p *Planner) Steps(ctx context.Context, from, to string, concurrent bool) (Steps, error) {
	want, err := Read(ctx, to)
	if err != nil {
		return Steps{}, err
	}
	steps, err := p.steps(ctx, from, to, want, concurrent)
	if errors.Is(err, errNotPlanned) {
		// One object that pg-schema-diff does not support makes its whole plan fail. The
		// differences are then left to package catalog.
		return p.steps(ctx, from, "", want, concurrent)
	}
	return steps, err
}

// errNotPlanned means that pg-schema-diff has no plan, or one that fails.
var errNotPlanned = errors.New("pg-schema-diff has no plan for it")

// steps plans with pg-schema-diff if to is not empty, and otherwise without it.
func (p *Planner) steps(ctx context.Context, from, to string, want *catalog.Schema, concurrent bool) (Steps, error) {
	var steps Steps
	work, err := p.Server.Clone(ctx, from)
	if err != nil {
		return steps, err
	}
	// The types come first, because the tables of the next step have columns of them.
	if _, err = p.fix(ctx, &steps, work, want, isType); err != nil {
		return steps, err
	}
	if to != "" {
		if err := p.differ(ctx, &steps, work, to, want, concurrent); err != nil {
			return steps, err
		}
	}
	// A statement may depend on one that comes after it, such as a view on another view.
	for range 5 {
		n := len(steps.Statements)
		if steps.Left, err = p.fix(ctx, &steps, work, want, func(catalog.Difference) bool { return true }); err != nil {
			return steps, err
		}
		if len(steps.Statements) == n {
			break
		}
	}
	return steps, nil
}

// Read reads the parts of a schema that migrations can change.
func Read(ctx context.Context, url string) (*catalog.Schema, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	return catalog.Read(ctx, conn, catalog.Options{Comments: true})
}

// Differences returns the differences between two schemas, without those of tables to keep.
func (p *Planner) Differences(want, have *catalog.Schema) []catalog.Difference {
	return slices.DeleteFunc(catalog.Compare(want, have), func(d catalog.Difference) bool {
		switch {
		case d.Want == nil && p.Keep != nil && p.Keep(d.Have):
			return true
		case d.Want != nil && d.Want.Kind == "grant" && p.Role != nil:
			_, role, _ := strings.Cut(d.Want.Name, " TO ")
			return !p.Role(strings.Trim(role, `"`))
		}
		return false
	})
}

// isType selects the differences in types that pg-schema-diff does not know and on which tables
// depend.
func isType(d catalog.Difference) bool {
	o := d.Want
	return o != nil && d.Have == nil && (o.Kind == "domain" || o.Kind == "composite type" || o.Kind == "range type" ||
		o.Kind == "constraint" && strings.HasPrefix(o.Create, "ALTER DOMAIN ") || o.Kind == "schema" || o.Kind == "extension")
}

// fix removes differences with the statements of package catalog, if it may, and returns those
// that remain.
func (p *Planner) fix(ctx context.Context, steps *Steps, work string, want *catalog.Schema, may func(catalog.Difference) bool) ([]catalog.Difference, error) {
	have, err := Read(ctx, work)
	if err != nil {
		return nil, err
	}
	var left []catalog.Difference
	for _, d := range p.Differences(want, have) {
		if !may(d) {
			continue
		}
		fixes := d.Fix()
		if len(fixes) == 0 || !p.runs(ctx, work, fixes) {
			left = append(left, d)
			continue
		}
		for _, sql := range fixes {
			steps.Statements = append(steps.Statements, Statement{SQL: sql})
		}
	}
	return left, nil
}

// runs runs statements in one transaction, and reports whether all succeeded.
func (p *Planner) runs(ctx context.Context, url string, statements []string) bool {
	return p.Server.Exec(ctx, url, strings.Join(statements, ";\n")) == nil
}

// differ adds the statements of pg-schema-diff, and runs them on work.
func (p *Planner) differ(ctx context.Context, steps *Steps, work, to string, want *catalog.Schema, concurrent bool) error {
	have, err := Read(ctx, work)
	if err != nil {
		return err
	}
	list, err := p.generate(ctx, work, to, concurrent)
	if err != nil {
		return err
	}
	created := map[string]bool{}
	for key, o := range want.Objects {
		if o.Kind == "table" && have.Objects[key] == nil {
			created[strings.ReplaceAll(o.Name, `"`, "")] = true
		}
	}
	for i := range list {
		list[i].SQL, list[i].New = onNewTable(list[i].SQL, created)
	}
	if err := p.Server.Exec(ctx, work, texts(list)...); err != nil {
		return fmt.Errorf("%w: %w", errNotPlanned, err)
	}
	steps.Statements = append(steps.Statements, list...)
	return nil
}

func texts(list []Statement) (all []string) {
	for _, s := range list {
		all = append(all, s.SQL)
	}
	return all
}

var (
	buildsIndex = regexp.MustCompile(`^CREATE (?:UNIQUE )?INDEX CONCURRENTLY .*? ON (?:ONLY )?((?:"(?:[^"]|"")+"|\w+)\.(?:"(?:[^"]|"")+"|\w+))`)
	altersTable = regexp.MustCompile(`^ALTER TABLE (?:ONLY )?((?:"(?:[^"]|"")+"|\w+)\.(?:"(?:[^"]|"")+"|\w+))`)
)

// onNewTable reports whether a statement is on a table that the plan itself creates. No
// session waits for that table, so its indexes are not built CONCURRENTLY.
func onNewTable(sql string, created map[string]bool) (string, bool) {
	isNew := func(pattern *regexp.Regexp) bool {
		m := pattern.FindStringSubmatch(sql)
		return m != nil && created[strings.ReplaceAll(m[1], `"`, "")]
	}
	if isNew(buildsIndex) {
		return strings.Replace(sql, " CONCURRENTLY", "", 1), true
	}
	return sql, isNew(altersTable)
}

func (p *Planner) generate(ctx context.Context, from, to string, concurrent bool) (list []Statement, err error) {
	before, err := open(from)
	if err != nil {
		return nil, err
	}
	defer before.Close()
	after, err := open(to)
	if err != nil {
		return nil, err
	}
	defer after.Close()
	opts := []diff.PlanOpt{diff.WithDoNotValidatePlan(), diff.WithLogger(quiet{})}
	if !concurrent {
		opts = append(opts, diff.WithNoConcurrentIndexOps())
	}
	made, err := diff.Generate(ctx, diff.DBSchemaSource(before), diff.DBSchemaSource(after), opts...)
	if errors.Is(err, diff.ErrNotImplemented) {
		return nil, fmt.Errorf("%w: %w", errNotPlanned, err)
	}
	if err != nil {
		return nil, fmt.Errorf("plan the change: %w", err)
	}
	for _, s := range made.Statements {
		if p.skipped(s.DDL) {
			continue
		}
		statement := Statement{SQL: strings.TrimRight(strings.TrimSpace(s.DDL), "; \n")}
		for _, h := range s.Hazards {
			statement.Hazards = append(statement.Hazards, strings.TrimSpace(string(h.Type)+": "+strings.Join(strings.Fields(h.Message), " ")))
		}
		list = append(list, statement)
	}
	return list, nil
}

// maxConns is enough for the queries of pg-schema-diff, which it sends concurrently.
const maxConns = 3

func open(url string) (*sql.DB, error) {
	cc, prepare, err := postgres.Config{URL: url}.ConnConfig()
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*cc, stdlib.OptionAfterConnect(prepare))
	db.SetMaxOpenConns(maxConns)
	return db, nil
}

// quiet is a logger that discards.
type quiet struct{}

func (quiet) Errorf(string, ...any) {}
func (quiet) Warnf(string, ...any)  {}

var (
	drops     = regexp.MustCompile(`^(?:DROP TABLE|ALTER TABLE|DROP INDEX(?: CONCURRENTLY)?|DROP SEQUENCE|ALTER SEQUENCE) (?:ONLY )?("(?:[^"]|"")+"\."(?:[^"]|"")+")`)
	privilege = regexp.MustCompile(`^(?:GRANT|REVOKE) .* (?:TO|FROM) ("(?:[^"]|"")+"|[a-z_0-9]+)`)
	gooseOwn  = regexp.MustCompile(`"?goose_db_version(_id_seq|_pkey)?"?`)
)

// skipped reports whether a statement of pg-schema-diff is left out: one on goose's own table, a
// drop of a table to keep, or a grant to an operator's role.
func (p *Planner) skipped(ddl string) bool {
	if gooseOwn.MatchString(ddl) {
		return true
	}
	if m := drops.FindStringSubmatch(ddl); m != nil && p.Keep != nil {
		name := strings.ReplaceAll(m[1], `"`, "")
		return p.Keep(&catalog.Object{Kind: "table", Name: name, Parent: name})
	}
	if m := privilege.FindStringSubmatch(ddl); m != nil && p.Role != nil {
		return !p.Role(strings.Trim(m[1], `"`))
	}
	return false
}

// Renames names the columns and tables that may have been renamed: one of them is dropped, and
// another of the same type is added in the same place. The rows would be lost.
func (p *Planner) Renames(ctx context.Context, from, to string) (hints []string, err error) {
	have, err := Read(ctx, from)
	if err != nil {
		return nil, err
	}
	want, err := Read(ctx, to)
	if err != nil {
		return nil, err
	}
	list := p.Differences(want, have)
	for _, dropped := range list {
		for _, added := range list {
			o, n := dropped.Have, added.Want
			if o == nil || n == nil || dropped.Want != nil || added.Have != nil || o.Kind != n.Kind || o.Parent != n.Parent {
				continue
			}
			last := func(name string) string { return strings.TrimPrefix(name, o.Parent+".") }
			switch {
			case o.Kind == "column" && o.Attr("type") == n.Attr("type"):
				hints = append(hints, fmt.Sprintf("RENAMED? %s is dropped and %s is added, which loses its values: if it was renamed, write ALTER TABLE %s RENAME COLUMN %s TO %s instead.",
					o.Name, n.Name, o.Parent, last(o.Name), last(n.Name)))
			case o.Kind == "table" && columnsOf(have, o.Name) == columnsOf(want, n.Name):
				hints = append(hints, fmt.Sprintf("RENAMED? %s is dropped and %s is added, which loses its rows: if it was renamed, write ALTER TABLE %s RENAME TO %s instead.",
					o.Name, n.Name, o.Name, last(n.Name)))
			}
		}
	}
	return hints, nil
}

// columnsOf describes the columns of a table.
func columnsOf(s *catalog.Schema, table string) string {
	_, columns, _ := strings.Cut(s.Objects["table "+table].Create, " (")
	return columns
}
