// Package rows fills the tables of a scratch database with rows that satisfy their types,
// NOT NULL, unique and foreign keys, and most CHECK constraints.
//
//	Fill, Truncate  rows.go   all tables, the referenced ones first
//	table           table.go  a table as the catalog describes it
//	insert          insert.go the statement that fills one
//	value           value.go  values of a type
//
// The server itself checks the constraints. More candidates than needed are generated, of many
// kinds, and those that a CHECK refuses are omitted.
package rows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Fill adds rows to each empty table, as many as want returns. It returns how many rows each
// table then has, and a note for each table that could not be filled.
func Fill(ctx context.Context, conn *pgx.Conn, want func(table string) int64) (has map[string]int64, notes []string, err error) {
	// Triggers do not fire, and foreign keys are not checked. The choice of values satisfies
	// the foreign keys.
	if _, err := conn.Exec(ctx, "SET session_replication_role = replica; SET search_path = pg_catalog; SET TimeZone = 'UTC'"); err != nil {
		return nil, nil, fmt.Errorf("make rows: %w", err)
	}
	tables, err := readTables(ctx, conn)
	if err != nil {
		return nil, nil, fmt.Errorf("make rows: %w", err)
	}
	has = map[string]int64{}
	for _, t := range tables {
		var n int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM (SELECT FROM ONLY "+t.Name+" LIMIT "+fmt.Sprint(want(t.Name))+") AS t").Scan(&n); err != nil {
			return nil, nil, fmt.Errorf("make rows: %w", err)
		}
		has[t.Name] = n
		if t.Root != "" {
			has[t.Root] += n
		}
	}
	for _, t := range inOrder(tables) {
		if has[t.Name] > 0 || want(t.Name) <= 0 {
			continue
		}
		n, err := t.fill(ctx, conn, want(t.Name), has)
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err != nil:
			notes = append(notes, fmt.Sprintf("%s is empty, because no rows could be made for it: %v", t.Name, err))
		case n == 0:
			notes = append(notes, fmt.Sprintf("%s is empty, because no rows could be made that its constraints accept", t.Name))
		}
		has[t.Name] = n
		if t.Root != "" {
			has[t.Root] += n
		}
	}
	return has, notes, nil
}

// Truncate empties all tables.
func Truncate(ctx context.Context, conn *pgx.Conn) error {
	tables, err := readTables(ctx, conn)
	if err != nil {
		return err
	}
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return nil
	}
	_, err = conn.Exec(ctx, "TRUNCATE "+strings.Join(names, ", ")+" CASCADE")
	return err
}

// inOrder sorts the tables so that referenced ones come first, unless they refer to each other
// in a cycle.
func inOrder(tables []*table) (order []*table) {
	left := slices.Clone(tables)
	done := map[string]bool{}
	ready := func(t *table, optional bool) bool {
		for _, f := range t.foreign {
			if !done[f.table] && f.table != t.Name && (f.required || !optional) {
				return false
			}
		}
		return true
	}
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(t *table) bool { return ready(t, false) })
		if i < 0 {
			i = slices.IndexFunc(left, func(t *table) bool { return ready(t, true) })
		}
		i = max(i, 0)
		done[left[i].Name] = true
		if p := left[i].Root; p != "" && !slices.ContainsFunc(left, func(t *table) bool { return t != left[i] && t.Root == p }) {
			done[p] = true
		}
		order = append(order, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return order
}

// rounds is how often further rows are generated if unique keys have refused some.
const rounds = 3

// fill adds n rows to a table, or fewer.
func (t *table) fill(ctx context.Context, conn *pgx.Conn, n int64, has map[string]int64) (made int64, err error) {
	for round := range int64(rounds) {
		sql, err := t.insert(round*n*candidates, n-made, has)
		if err != nil {
			return 0, err
		}
		tag, err := conn.Exec(ctx, sql)
		if err != nil {
			return 0, err
		}
		if made += tag.RowsAffected(); made >= n || tag.RowsAffected() == 0 {
			break
		}
	}
	var errs []error
	for _, c := range t.columns {
		if c.Sequence == nil {
			continue
		}
		// A migration that inserts rows must not draw ids that these rows have.
		_, err := conn.Exec(ctx, fmt.Sprintf("SELECT setval(%s::regclass, (SELECT max(%s) FROM %s))", literal(*c.Sequence), quoted(c.Name), t.Name))
		errs = append(errs, err)
	}
	_, err = conn.Exec(ctx, "ANALYZE "+t.Name)
	return made, errors.Join(append(errs, err)...)
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
