package proof

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/internal/pgproc"
	"quern/postgres"
)

// checkReads checks a statement that is declared to only read against the
// declarations of the functions that it calls: those in its text, of its operators,
// in the views that it reads, in the policies of its tables, and in the bodies of
// functions in SQL and PL/pgSQL.
//
// A read-only transaction is not sufficient. It allows set_config, NOTIFY and
// advisory locks, and a function is not executed if there are no rows.
func (c *checker) checkReads(ctx context.Context, s postgres.Statement, tree *node) ([]string, error) {
	calls := &calls{checker: c, ctx: ctx, seen: map[string]bool{}}
	if err := calls.in(tree); err != nil {
		return nil, err
	}
	if calls.writes == "" {
		return nil, nil
	}
	hint := "remove @route replica"
	if s.Route != postgres.Replica {
		hint = "call it in the statement itself, where the check sees it"
	}
	if calls.own {
		hint = "declare it STABLE if it only reads, or " + hint
	}
	return []string{fmt.Sprintf("it is declared to only read, but calls %s: %s", calls.writes, hint)}, nil
}

// calls follows the functions of a statement.
type calls struct {
	*checker
	ctx    context.Context
	seen   map[string]bool // functions and relations, by OID
	writes string          // the first function that may write, with the reason
	own    bool            // it belongs to the project, not to PostgreSQL
}

// functionFields are the fields of nodes that contain the OID of a function.
var functionFields = []string{"funcid", "aggfnoid", "winfnoid", "elemfuncid"}

// in follows the functions and relations of a tree.
func (c *calls) in(tree any) error {
	var functions, operators, relations []string
	walk(tree, func(n *node) {
		for _, field := range functionFields {
			if oid := n.word(field); oid != "" && oid != "0" && oid != null {
				functions = append(functions, oid)
			}
		}
		if oid := n.word("opno"); oid != "" && oid != null {
			operators = append(operators, oid)
		}
		if n.word("rtekind") == fromTable {
			relations = append(relations, n.word("relid"))
		}
	})
	const of = "SELECT oprcode::oid::text FROM pg_operator WHERE oid = ANY($1::text[]::oid[])"
	rows, err := c.conn.Query(c.ctx, of, operators)
	if err != nil {
		return err
	}
	codes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, oid := range append(functions, codes...) {
		if err := c.function(oid); err != nil || c.writes != "" {
			return err
		}
	}
	for _, oid := range relations {
		if err := c.relation(oid); err != nil || c.writes != "" {
			return err
		}
	}
	return nil
}

// function checks one function and follows the functions that it calls.
func (c *calls) function(oid string) error {
	if c.seen["f"+oid] {
		return nil
	}
	c.seen["f"+oid] = true
	var name, schema, volatility, language, source string
	var body *string
	var transitions []string
	const of = `
		SELECT p.proname::text, p.pronamespace::regnamespace::text, p.provolatile::text, l.lanname::text, p.prosrc, p.prosqlbody::text,
		       ARRAY(SELECT f::oid::text FROM pg_aggregate a, unnest(ARRAY[a.aggtransfn, a.aggfinalfn]) f WHERE a.aggfnoid = p.oid AND f::oid <> 0)
		FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		WHERE p.oid = $1::text::oid`
	err := c.conn.QueryRow(c.ctx, of, oid).Scan(&name, &schema, &volatility, &language, &source, &body, &transitions)
	if err != nil {
		return err
	}
	if schema == "pg_catalog" {
		if !pgproc.Reads(name) && (volatility == "v" || pgproc.Stable(name)) {
			c.writes = name + "(), whose effects outlast the statement"
		}
		return nil
	}
	for _, part := range transitions { // an aggregate is declared IMMUTABLE regardless of its functions
		if err := c.function(part); err != nil || c.writes != "" {
			return err
		}
	}
	if len(transitions) == 0 && volatility == "v" {
		c.writes, c.own = name+"(), which is VOLATILE and may write", true
		return nil
	}
	switch {
	case body != nil:
		tree, err := parseTree(*body)
		if err != nil {
			return err
		}
		err = c.in(tree)
		c.through(name)
		return err
	case language == "sql" || language == "plpgsql":
		err := c.source(source)
		c.through(name)
		return err
	}
	return nil
}

// through adds to the finding how the statement reaches the function.
func (c *calls) through(name string) {
	if c.writes != "" {
		c.writes, c.own = name+"(), which calls "+c.writes, false
	}
}

var (
	sourceSkipped = regexp.MustCompile(`(?s)--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'`)
	sourceCall    = regexp.MustCompile(`(?i)([a-z_][a-z0-9_$]*)\s*\(`)
)

// source follows the functions named in a body that is stored as text. If several
// functions have a name, it may be any of them.
func (c *calls) source(text string) error {
	var names []string
	for _, m := range sourceCall.FindAllStringSubmatch(sourceSkipped.ReplaceAllString(text, " "), -1) {
		names = append(names, strings.ToLower(m[1]))
	}
	rows, err := c.conn.Query(c.ctx, "SELECT oid::text FROM pg_proc WHERE proname = ANY($1) AND prokind IN ('f', 'a')", names)
	if err != nil {
		return err
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, oid := range oids {
		if err := c.function(oid); err != nil || c.writes != "" {
			return err
		}
	}
	return nil
}

// relation follows a view's query and the policies of a table.
func (c *calls) relation(oid string) error {
	if c.seen["r"+oid] {
		return nil
	}
	c.seen["r"+oid] = true
	const of = `
		SELECT ev_action::text FROM pg_rewrite JOIN pg_class v ON v.oid = ev_class
		WHERE ev_class = $1::text::oid AND rulename = '_RETURN' AND v.relkind = 'v'
		UNION ALL
		SELECT polqual::text FROM pg_policy JOIN pg_class t ON t.oid = polrelid
		WHERE polrelid = $1::text::oid AND t.relrowsecurity AND polqual IS NOT NULL AND polcmd IN ('r', '*')`
	rows, err := c.conn.Query(c.ctx, of, oid)
	if err != nil {
		return err
	}
	trees, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, text := range trees {
		tree, err := parseTree(text)
		if err != nil {
			return err
		}
		if err := c.in(tree); err != nil || c.writes != "" {
			return err
		}
	}
	return nil
}

// runReadOnly executes a statement in a read-only transaction, with NULLs and with
// an example of each type, and rolls it back. It only reports the error for a
// write, because the examples may cause other errors.
func (c *checker) runReadOnly(ctx context.Context, s postgres.Statement, params []uint32) []string {
	examples := make([]any, len(params))
	for i, oid := range params {
		examples[i] = c.example(oid)
	}
	for _, args := range [][]any{make([]any, len(params)), examples} {
		tx, err := c.conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
		if err != nil {
			return []string{err.Error()}
		}
		_, err = tx.Exec(ctx, "SET LOCAL statement_timeout = '5s'")
		if err == nil {
			_, err = tx.Exec(ctx, s.SQL, args...)
		}
		_ = tx.Rollback(ctx)
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code == pgerrcode.ReadOnlySQLTransaction {
			return []string{fmt.Sprintf("it is declared to only read, but fails in a read-only transaction (%s): remove @route replica", refused.Message)}
		}
	}
	return nil
}

// example returns a value of a type as text, or NULL if none is known.
func (c *checker) example(oid uint32) any {
	t := c.types[oid]
	if t == nil {
		return nil
	}
	if t.array {
		return "{}"
	}
	short := c.last(t).short
	switch {
	case slices.Contains(integers, short), slices.Contains(floats, short), short == "numeric", short == "oid":
		return "1"
	case t.oid >= 16384:
		return nil
	case t.text:
		return "a"
	}
	return map[string]any{
		"bool": "true", "uuid": "00000000-0000-0000-0000-000000000000", "json": "{}", "jsonb": "{}", "bytea": `\x00`, "inet": "127.0.0.1",
		"date": "2026-01-01", "time": "12:00", "timestamp": "2026-01-01", "timestamptz": "2026-01-01", "interval": "1h",
	}[short]
}
