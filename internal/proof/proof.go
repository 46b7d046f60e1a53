// Package proof checks the statements of a registry against a migrated schema. sqlc
// infers types and nullability from the text of the migrations, and the plugin
// reads directives and tokens. This package asks the server for everything else.
//
// Statements checks every statement. It must be possible to prepare it. Its
// parameters and columns must have the number, types and nullability of the
// generated code. If it is declared to only read, it must do so, and its @plan must
// hold. If it is derived from an UPDATE or DELETE, its key must be unique. It is for tests, on a separate database. It executes statements that only
// read, in read-only transactions that are rolled back.
//
// Incompatible returns the statements of one release that fail on the schema of
// another one.
//
// Plans returns the statements whose @plan does not hold in a live database.
//
// Vet and VetSharded return the statements that become a risk when the tables or
// the number of servers grow.
package proof

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"quern/postgres"
)

// Problem is one problem of a statement. Its text has the difference and the hint.
type Problem struct {
	Statement postgres.Statement
	Text      string
}

func (p Problem) String() string {
	return fmt.Sprintf("%s: %s: %s", p.Statement.File, p.Statement.Name, p.Text)
}

// Statements returns the problems of the statements in the database of the URL. The
// role must be a superuser, because other indexes are dropped, in a transaction
// that is rolled back, to find out whether an index can serve a statement.
func Statements(ctx context.Context, url string, statements []postgres.Statement) ([]Problem, error) {
	c, err := newChecker(ctx, url)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close(ctx)
	var problems []Problem
	for _, s := range statements {
		found, err := c.check(ctx, s)
		if err != nil {
			return problems, fmt.Errorf("%s: %w", s.Name, err)
		}
		for _, text := range found {
			problems = append(problems, Problem{s, text})
		}
	}
	return problems, nil
}

// checker checks statements on one connection.
type checker struct {
	conn *pgx.Conn
	catalog
	views map[string]*node // by OID
}

func newChecker(ctx context.Context, url string) (*checker, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	return newCheckerOf(ctx, config)
}

func newCheckerOf(ctx context.Context, config *pgx.ConnConfig) (*checker, error) {
	// No statement may stay prepared, because the schema changes within transactions.
	config.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	c := &checker{conn: conn}
	if err := c.load(ctx); err != nil {
		conn.Close(ctx)
		return nil, err
	}
	return c, nil
}

// check returns the problems of a statement. Its error is a failure of the check
// itself.
func (c *checker) check(ctx context.Context, s postgres.Statement) (problems []string, err error) {
	if s.Kind == postgres.CopyFrom {
		return c.checkCopy(ctx, s)
	}
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(ctx)
	described, err := tx.Prepare(ctx, "proof", s.SQL)
	if err != nil {
		return []string{fmt.Sprintf("the server cannot prepare it: %s: correct the statement", serverText(err))}, nil
	}
	defer c.conn.Deallocate(ctx, "proof")
	problems = c.checkParams(s, described.ParamOIDs)
	problems = append(problems, c.checkColumns(s, described.Fields)...)
	tree, err := c.treeOf(ctx, tx, s.SQL, described.ParamOIDs)
	if err != nil {
		return nil, err
	}
	if tree != nil {
		if s.DerivedFrom == "" {
			nulls, err := c.checkNulls(ctx, s, tree)
			if err != nil {
				return nil, err
			}
			problems = append(problems, nulls...)
		}
		if s.Reads || s.Route == postgres.Replica {
			calls, err := c.checkReads(ctx, s, tree)
			if err != nil {
				return nil, err
			}
			problems = append(problems, calls...)
		}
		if len(s.Key) > 0 {
			changes, err := c.checkChange(ctx, s, tree)
			if err != nil {
				return nil, err
			}
			problems = append(problems, changes...)
		}
	}
	if err := tx.Rollback(ctx); err != nil {
		return nil, err
	}
	if s.Reads || s.Route == postgres.Replica {
		problems = append(problems, c.runReadOnly(ctx, s, described.ParamOIDs)...)
	}
	if s.Plan != "" && s.DerivedFrom == "" {
		if err := c.checkPlan(ctx, s, len(described.ParamOIDs)); err != nil {
			problems = append(problems, fmt.Sprintf("@plan %s: %v", s.Plan, err))
		}
	}
	if len(s.Key) > 0 {
		if err := c.served(ctx, s, len(described.ParamOIDs), "", Plan.findsRows); err != nil {
			problems = append(problems, fmt.Sprintf("@batch: %v", err))
		}
	}
	return problems, nil
}

// treeOf returns the query tree of a statement, or nil if the server creates none
// for it. The server shows a tree with parameters only in the body of an SQL
// function (CREATE FUNCTION, sql_body; PostgreSQL 14 and newer).
func (c *checker) treeOf(ctx context.Context, tx pgx.Tx, sql string, params []uint32) (*node, error) {
	var types []string
	for _, oid := range params {
		var name string
		if err := tx.QueryRow(ctx, "SELECT format_type($1, NULL)", oid).Scan(&name); err != nil {
			return nil, err
		}
		types = append(types, name)
	}
	sp, err := tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer sp.Rollback(ctx)
	create := fmt.Sprintf("CREATE FUNCTION pg_temp.quern_proof(%s) RETURNS void LANGUAGE sql BEGIN ATOMIC\n%s;\nEND",
		strings.Join(types, ", "), strings.TrimRight(sql, "; \n\t"))
	if _, err := sp.Exec(ctx, create, pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, nil // a utility statement, or one whose parameters have no type
	}
	var text string
	const body = "SELECT prosqlbody::text FROM pg_proc WHERE proname = 'quern_proof' AND pronamespace = pg_my_temp_schema()"
	if err := sp.QueryRow(ctx, body).Scan(&text); err != nil {
		return nil, err
	}
	parsed, err := parseTree(text)
	if err != nil {
		return nil, err
	}
	return firstQuery(parsed), nil
}

// firstQuery returns the first query in a list of lists.
func firstQuery(value any) *node {
	for {
		switch v := value.(type) {
		case *node:
			return v
		case []any:
			if len(v) == 0 {
				return nil
			}
			value = v[0]
		default:
			return nil
		}
	}
}

// serverText returns the server's message in an error.
func serverText(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return strings.TrimPrefix(err.Error(), "failed to prepare statement: ")
	}
	return err.Error()
}
