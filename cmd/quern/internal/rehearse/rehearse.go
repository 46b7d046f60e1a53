// Package rehearse runs migrations on a scratch database that has as many rows as
// production, and measures what each statement does to those who use the tables: which
// locks it takes, for how long, which tables it rewrites and reads, and whether Down undoes it.
//
//	Rehearsal, Result   rehearse.go  the migrations, one after the other
//	Files, Statement    file.go      a goose file as statements
//	Measured            measure.go   one statement; watch.go: outside of a transaction
//	Policy, Rules       policy.go    the limits, and the safe form for each
package rehearse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/cmd/quern/internal/catalog"
	"quern/cmd/quern/internal/rows"
	"quern/cmd/quern/internal/scratch"
)

// Rehearsal configures Run.
type Rehearsal struct {
	Server *scratch.Server
	Policy Policy

	// Rows is how many rows each table gets.
	Rows int64

	// Real is how many rows the tables have in production. Defaults to Rows for each table that
	// exists before the migration.
	Real map[string]int64
}

// Result holds the effects of one migration.
type Result struct {
	File       File
	Statements []Measured
	Findings   [][]Finding // of each statement
	Down       []Finding   // of the file
	Notes      []string
	Err        error // why it failed
}

// Broken returns the number of findings without an exemption.
func (r Result) Broken() (n int) {
	for _, list := range append(r.Findings, r.Down) {
		for _, f := range list {
			if f.Reason == "" {
				n++
			}
		}
	}
	if r.Err != nil {
		n++
	}
	return n
}

// Run runs the migrations on the database, which Create or Clone made, until one fails.
func (r *Rehearsal) Run(ctx context.Context, url string, files []File) (list []Result, err error) {
	for _, f := range files {
		result, next, err := r.file(ctx, url, f)
		if err != nil {
			return list, fmt.Errorf("%s: %w", f.Name, err)
		}
		list = append(list, result)
		if result.Err != nil {
			return list, nil
		}
		url = next
	}
	return list, nil
}

// file rehearses one migration, and returns the database after it.
func (r *Rehearsal) file(ctx context.Context, url string, f File) (result Result, next string, err error) {
	result.File = f
	filled, notes, err := r.fill(ctx, url)
	if err != nil {
		return result, "", err
	}
	result.Notes = notes
	before, err := read(ctx, url)
	if err != nil {
		return result, "", err
	}
	work, err := r.Server.Clone(ctx, url)
	if err != nil {
		return result, "", err
	}
	result.Statements, result.Err = run(ctx, work, f.Up, f.NoTx)
	if brokenByRows(result.Err) {
		// The rows are made for the schema before the migration. Only its
		// author knows which rows satisfy the constraints that it adds.
		result.Notes = append(result.Notes, fmt.Sprintf("measured on empty tables, because the generated rows break it (%v): production's may, too", result.Err))
		if work, err = r.empty(ctx, url); err != nil {
			return result, "", err
		}
		filled = nil
		result.Statements, result.Err = run(ctx, work, f.Up, f.NoTx)
	}
	if result.Err != nil {
		return result, "", nil
	}
	s := r.sizes(before, filled)
	estimate(result.Statements, s, f.NoTx)
	for _, m := range result.Statements {
		result.Findings = append(result.Findings, r.Policy.judge(m, s))
	}
	result.Down, err = r.undo(ctx, f, work, before)
	return result, work, err
}

// fill adds rows to the tables, and returns how many each has.
func (r *Rehearsal) fill(ctx context.Context, url string) (filled map[string]int64, notes []string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close(ctx)
	return rows.Fill(ctx, conn, func(table string) int64 {
		if n, ok := r.Real[table]; ok {
			return min(n, r.Rows)
		}
		return r.Rows
	})
}

func (r *Rehearsal) empty(ctx context.Context, url string) (string, error) {
	work, err := r.Server.Clone(ctx, url)
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, work)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return work, rows.Truncate(ctx, conn)
}

func run(ctx context.Context, url string, list []Statement, noTx bool) ([]Measured, error) {
	runner, err := newRunner(ctx, url)
	if err != nil {
		return nil, err
	}
	defer runner.close(ctx)
	return runner.run(ctx, list, noTx)
}

// brokenByRows reports whether existing rows violate a constraint that a statement adds.
func brokenByRows(err error) bool {
	refused := (*pgconn.PgError)(nil)
	return errors.As(err, &refused) && (pgerrcode.IsIntegrityConstraintViolation(refused.Code) || pgerrcode.IsDataException(refused.Code))
}

func read(ctx context.Context, url string) (*catalog.Schema, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	return catalog.Read(ctx, conn, catalog.Options{Comments: true})
}

// sizes returns the size of each table that exists before a migration.
func (r *Rehearsal) sizes(before *catalog.Schema, filled map[string]int64) sizes {
	s := sizes{}
	for _, table := range before.Tables() {
		size := Size{Real: r.Rows, Filled: filled[table]}
		if r.Real != nil {
			size.Real = r.Real[table]
		}
		s[table] = size
	}
	return s
}

// estimate scales the durations of the statements that rewrite or read tables to the size of
// production. It also scales how long locks are held.
func estimate(list []Measured, s sizes, noTx bool) {
	for i := range list {
		m := &list[i]
		factor := 1.0
		for table := range m.Read {
			factor = max(factor, s.factor(table))
		}
		for _, table := range m.Rewritten {
			factor = max(factor, s.factor(table))
		}
		m.Duration = time.Duration(float64(m.Duration) * factor)
	}
	for i := range list {
		list[i].Held = 0
		for _, later := range list[i:] {
			list[i].Held += later.Duration
			if noTx {
				break
			}
		}
	}
}

func (s sizes) factor(table string) float64 {
	if s[table].Filled == 0 {
		return 1
	}
	return float64(s[table].Real) / float64(s[table].Filled)
}

// undo runs Down and then Up again on a copy, and compares the schemas.
func (r *Rehearsal) undo(ctx context.Context, f File, url string, before *catalog.Schema) (list []Finding, err error) {
	add := func(format string, args ...any) {
		list = append(list, Finding{Rule: RuleDown, Text: fmt.Sprintf(format, args...), Reason: f.AllowDown})
	}
	after, err := read(ctx, url)
	if err != nil {
		return nil, err
	}
	work, err := r.Server.Clone(ctx, url)
	if err != nil {
		return nil, err
	}
	_, failed := run(ctx, work, f.Down, f.NoTx)
	if brokenByRows(failed) {
		if work, err = r.empty(ctx, url); err != nil {
			return nil, err
		}
		_, failed = run(ctx, work, f.Down, f.NoTx)
	}
	if failed != nil {
		add("Down fails: %v", failed)
		return list, nil
	}
	back, err := read(ctx, work)
	if err != nil {
		return nil, err
	}
	if left := withoutLabels(catalog.Compare(before, back)); len(left) > 0 {
		add("Down does not bring the schema back: %s: complete it, or say with `-- quern:allow down: REASON` why it need not", subjects(left))
		return list, nil
	}
	if len(catalog.Compare(before, back)) > 0 {
		return nil, nil // Up cannot add a label again
	}
	if _, failed := run(ctx, work, f.Up, f.NoTx); failed != nil && !brokenByRows(failed) {
		add("Up fails after Down: %v", failed)
		return list, nil
	}
	again, err := read(ctx, work)
	if err != nil {
		return nil, err
	}
	if left := catalog.Compare(after, again); len(left) > 0 && !brokenByRows(failed) {
		add("Up after Down gives another schema: %s", subjects(left))
	}
	return list, nil
}

// withoutLabels removes the labels of enums from the differences, because PostgreSQL cannot
// remove labels.
func withoutLabels(list []catalog.Difference) (left []catalog.Difference) {
	for _, d := range list {
		if d.Attr != "labels" || !strings.HasPrefix(d.Subject(), "enum ") || len(d.Have.Attr("labels")) < len(d.Want.Attr("labels")) {
			left = append(left, d)
		}
	}
	return left
}

func subjects(list []catalog.Difference) string {
	var names []string
	for _, d := range list {
		if !d.Within {
			names = append(names, d.Subject())
		}
	}
	const most = 3
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, "; ")
}
