package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres"
)

// liveTimeout bounds each EXPLAIN on a live database. Planning takes milliseconds,
// unless the statement's tables are locked.
const liveTimeout = 2 * time.Second

// Plans returns the statements with @plan for which it no longer holds in a live
// database, because an index is missing or INVALID, or because only a sequential scan
// can serve the statement. It changes nothing. It plans in read-only transactions in
// which the planner prefers an index regardless of the size of the tables, so the
// result is reproducible.
//
// If another index serves a statement as well as the one of its @plan uses, that is not
// a problem. The role needs the privileges of the statements. config must lead to the
// server, or to a pooler that gives each client its own session.
//
// A statement on a table that Citus distributes is omitted, because Citus chooses the shard
// by the values of the parameters, and cannot plan without them.
func Plans(ctx context.Context, config *pgx.ConnConfig, statements []postgres.Statement) ([]Problem, error) {
	c, err := newCheckerOf(ctx, config)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close(ctx)
	if err := c.limit(ctx); err != nil {
		return nil, err
	}
	var problems []Problem
	for _, s := range statements {
		if s.Plan == "" || s.DerivedFrom != "" {
			continue
		}
		if err := c.livePlan(ctx, s); err != nil {
			if ctx.Err() != nil || c.conn.IsClosed() {
				return problems, err
			}
			var pgErr *pgconn.PgError
			if errors.As(err, &pgErr) && pgErr.Code == pgerrcode.FeatureNotSupported {
				continue
			}
			summary, _, _ := strings.Cut(err.Error(), "\n") // except the plan
			problems = append(problems, Problem{s, "@plan " + s.Plan + ": " + summary})
		}
	}
	return problems, nil
}

// limit keeps the connection from writing and from waiting.
func (c *checker) limit(ctx context.Context) error {
	limits := fmt.Sprintf("SET default_transaction_read_only = on; SET statement_timeout = %[1]d; SET lock_timeout = %[1]d", liveTimeout.Milliseconds())
	_, err := c.conn.Exec(ctx, limits, pgx.QueryExecModeSimpleProtocol)
	return err
}

func (c *checker) livePlan(ctx context.Context, s postgres.Statement) error {
	name, uses := strings.CutPrefix(s.Plan, "uses ")
	if uses {
		indexes, err := c.indexesNamed(ctx, name)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(indexes, func(i namedIndex) bool { return !i.Valid }) {
			return errors.New("the index is INVALID, so no plan uses it: run REINDEX INDEX CONCURRENTLY " + name)
		}
	}
	described, err := c.conn.Prepare(ctx, "proof", s.SQL)
	if err != nil {
		return errors.New("the server cannot prepare the statement: " + serverText(err))
	}
	defer c.conn.Deallocate(ctx, "proof")
	check := Plan.filters
	if uses {
		check = func(Plan) error { return nil }
	}
	return c.served(ctx, s, len(described.ParamOIDs), "", check)
}
