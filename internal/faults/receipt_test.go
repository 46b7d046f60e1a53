//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/postgres"
)

// receipts are the results of inserts. They are compared with the expected
// results and with the stored rows.
type receipts struct {
	findings
	orders
	others bool // there are rows without an order

	mu   sync.Mutex
	list []receipt
}

type receipt struct {
	order
	row any // *db.User, *db.Post or *db.Task; nil if not acknowledged
	err error
}

// newReceipts adds the users that the posts belong to.
func newReceipts(t testing.TB, n *node, name string, seed uint64) *receipts {
	t.Helper()
	owners := ask[[]int64](t, n, `
		WITH added AS (
			INSERT INTO users (username, email) SELECT 'owner ' || i || ' of ' || $1, 'x' FROM generate_series(1, 4) AS i RETURNING id
		)
		SELECT array_agg(id) FROM added`, name)
	return &receipts{orders: orders{name: name, seed: seed, owners: owners}}
}

// place places the nth order and records the result.
func (r *receipts) place(ctx context.Context, q *db.Queries, n int) receipt {
	got := receipt{order: r.get(n)}
	row, err := got.order.place(ctx, q)
	if got.err = err; err == nil {
		got.row = row
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, got)
	return got
}

// own reports whether the receipt is the expected result of the order if no
// failure occurs.
func (r receipt) own() bool {
	switch {
	case r.undone:
		return errors.Is(r.err, errUndone)
	case r.refusal != nil:
		return r.refusal.matches(r.err, r.statement)
	case r.rival && r.err != nil:
		return taken.matches(r.err, r.statement)
	default:
		return r.err == nil
	}
}

// judge checks one receipt by itself. If excused returns true for an error, that error is
// allowed even if the order does not call for a refusal.
func (r *receipts) judge(got receipt, excused func(error) bool) {
	switch {
	case got.err == nil && !got.own():
		r.add(acceptedWrong, "%s of %q", got.statement, got.name)
	case got.err == nil && !got.fits(got.row):
		r.add(foreignRow, "%s of %q returned %+v", got.statement, got.name, got.row)
	case got.err != nil && !got.own() && !excused(got.err):
		r.add(wrongRefusal, "%s of %q, which is to be refused with %v: %v", got.statement, got.name, got.refusal, got.err)
	}
}

func never(error) bool { return false }

// check compares the receipts with the rows stored on the node. An acknowledged
// row must be stored exactly once as returned, a row with an unknown outcome at
// most once, and a failed one not at all. One of several rivals must have the
// name, unless one of them has an excuse.
func (r *receipts) check(t testing.TB, n *node, excused func(error) bool) {
	t.Helper()
	stored := r.stored(t, n)
	type claim struct{ acknowledged, unknown, refused, excused []receipt }
	claims := map[string]*claim{}
	acknowledged, unknown := 0, 0
	for _, got := range r.list {
		r.judge(got, excused)
		key := got.statement + " " + got.name
		c := claims[key]
		if c == nil {
			c = &claim{}
			claims[key] = c
		}
		switch {
		case got.err == nil:
			acknowledged++
			c.acknowledged = append(c.acknowledged, got)
		case errors.Is(got.err, postgres.ErrCommitUnknown):
			unknown++
			c.unknown = append(c.unknown, got)
		case got.own():
			c.refused = append(c.refused, got)
		default:
			c.excused = append(c.excused, got)
		}
	}
	known := 0
	for key, c := range claims {
		rows := stored[key]
		known += len(rows)
		switch {
		case len(c.acknowledged) > 1:
			r.add(wonTwice, "%q was given %d times", key, len(c.acknowledged))
		case len(c.acknowledged) == 1 && len(rows) == 0:
			r.add(lostInsert, "%q", key)
		case len(rows) > 1:
			r.add(doubledInsert, "%q: %d times", key, len(rows))
		case len(c.acknowledged) == 1:
			if diff := cmp.Diff(c.acknowledged[0].row, rows[0]); diff != "" {
				r.add(alteredInsert, "%q (-returned +stored): %s", key, diff)
			}
		case len(rows) == 1:
			if !slices.ContainsFunc(c.unknown, func(r receipt) bool { return r.fits(rows[0]) }) {
				r.add(ghostInsert, "%+v; the results of its callers: %v %v %v", rows[0], errorsOf(c.refused), errorsOf(c.excused), errorsOf(c.unknown))
			}
		case len(c.unknown) == 0 && slices.ContainsFunc(c.refused, func(r receipt) bool { return r.rival }):
			r.add(wonTwice, "%q was refused to all of the %d callers that requested it", key, len(c.refused)+len(c.excused))
		}
	}
	all := 0
	for _, rows := range stored {
		all += len(rows)
	}
	if all != known && !r.others {
		r.add(ghostInsert, "%d rows have names that no caller requested", all-known)
	}
	t.Logf("%d orders: %d acknowledged, %d in doubt, %d rows stored", len(r.list), acknowledged, unknown, all)
}

func errorsOf(list []receipt) (errs []error) {
	for _, r := range list {
		errs = append(errs, r.err)
	}
	return errs
}

// stored returns the stored rows by statement and name, except for the owners
// of posts.
func (r *receipts) stored(t testing.TB, n *node) map[string][]any {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := n.dial(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	found := map[string][]any{}
	for _, u := range all[db.User](t, conn, `
		SELECT id, username, email, age, tags, created_at, updated_at, version FROM users WHERE id <> ALL($1)`, r.owners) {
		found["CreateUser "+u.Username] = append(found["CreateUser "+u.Username], u)
	}
	for _, p := range all[db.Post](t, conn, `
		SELECT id, user_id, title, content, tags, created_at, updated_at, version FROM posts`) {
		found["CreatePost "+p.Title] = append(found["CreatePost "+p.Title], p)
	}
	for _, task := range all[db.Task](t, conn, `
		SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
		FROM tasks`) {
		found["CreateTask "+task.Name] = append(found["CreateTask "+task.Name], task)
	}
	return found
}

func all[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) []*T {
	t.Helper()
	rows, err := conn.Query(context.WithoutCancel(t.Context()), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByPos[T])
	if err != nil {
		t.Fatal(fmt.Errorf("read the stored rows: %w", err))
	}
	return list
}
