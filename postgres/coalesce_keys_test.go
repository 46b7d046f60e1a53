package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// accounts creates n accounts and returns their ids.
func (c *crowd) accounts(n int) (ids []int64) {
	for i := range n {
		ids = append(ids, c.user(fmt.Sprint("account", i)).ID)
	}
	return ids
}

// change returns a call of ChangeAccount that checks its own answer.
func (c *crowd) change(arg db.ChangeAccountParams, want error) func() error {
	return func() error {
		row, err := c.q.ChangeAccount(c.t.Context(), arg)
		switch {
		case want != nil && !errors.Is(err, want):
			return fmt.Errorf("account %d: %w, want %w", arg.ID, err, want)
		case want != nil:
			return nil
		case err == nil && (row.ID != arg.ID || arg.Age != nil && *row.Age != *arg.Age || arg.Email != nil && row.Email != *arg.Email):
			return fmt.Errorf("account %d got %+v", arg.ID, row)
		}
		return err
	}
}

func TestBatch_Updates(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ids := c.accounts(24)
	var calls []func() error
	for i, id := range ids {
		calls = append(calls, c.change(db.ChangeAccountParams{ID: id, Age: new(int32(i)), Email: new(fmt.Sprint(i, "@x"))}, nil))
	}
	calls = append(calls,
		c.change(db.ChangeAccountParams{ID: -1}, postgres.ErrNotFound),
		c.change(db.ChangeAccountParams{ID: ids[0], IfVersion: new(int32(9))}, postgres.ErrNotFound),
		c.change(db.ChangeAccountParams{ID: ids[1], Age: new(int32(151))}, postgres.ErrCheck),
		c.change(db.ChangeAccountParams{ID: ids[2], Email: new("")}, postgres.ErrCheck),
		c.change(db.ChangeAccountParams{ID: ids[3], Email: new("nul\x00")}, postgres.ErrInvalidValue),
	)
	if err := errors.Join(c.meet("ChangeAccount", "", nil, nil, calls...)...); err != nil {
		t.Error(err)
	}
	if c.ran("ChangeAccountBatch") == 0 {
		t.Error("no calls were coalesced")
	}
	if n := c.count("SELECT sum(version)::int FROM accounts"); n != 48 {
		t.Errorf("the versions of 24 accounts with one change each add up to %d, want 48", n)
	}
}

// TestBatch_UpdateErrors: a refused update has the constraint and the name of the statement that
// was called, as if it had run individually.
func TestBatch_UpdateErrors(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ids := c.accounts(100)
	var calls []func() error
	for i, id := range ids {
		if i%2 == 0 {
			calls = append(calls, c.change(db.ChangeAccountParams{ID: id, Age: new(int32(7))}, nil))
			continue
		}
		calls = append(calls, func() error {
			_, err := c.q.ChangeAccount(t.Context(), db.ChangeAccountParams{ID: id, Age: new(int32(200))})
			var typed *postgres.Error
			if !errors.As(err, &typed) || !errors.Is(err, postgres.ErrCheck) || typed.Constraint != "accounts_age_range" || typed.Statement != "ChangeAccount" {
				return fmt.Errorf("got %w, want ErrCheck of ChangeAccount with its constraint", err)
			}
			return nil
		})
	}
	if err := errors.Join(c.meet("ChangeAccount", "", nil, nil, calls...)...); err != nil {
		t.Error(err)
	}
	if n := c.count("SELECT count(*)::int FROM accounts WHERE age = 7"); n != 50 {
		t.Errorf("%d accounts were changed, want 50", n)
	}
	// With many bad rows, the rest runs individually, because each attempt fails.
	if n := c.errorsOf("ChangeAccountBatch"); n == 0 || n > 60 {
		t.Errorf("%v shared statements failed, want 1 to 60", n)
	}
}

func TestBatch_ExecRowsAndDeletes(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ids := append(c.accounts(20), -1)
	var set, removed []func() error
	for _, id := range ids {
		want := min(id, 1)
		set = append(set, func() error {
			n, err := c.q.SetAccountEmail(t.Context(), db.SetAccountEmailParams{ID: id, Email: "new@x"})
			if err == nil && n != max(want, 0) {
				err = fmt.Errorf("%d rows of account %d", n, id)
			}
			return err
		})
		for version := range int32(3) {
			removed = append(removed, func() error {
				row, err := c.q.RemoveAccount(t.Context(), db.RemoveAccountParams{ID: id, Version: version})
				if version == 1 && id > 0 {
					if err == nil && row.ID != id {
						err = fmt.Errorf("account %d was returned for %d", row.ID, id)
					}
					return err
				}
				if !errors.Is(err, postgres.ErrNotFound) {
					return fmt.Errorf("version %d of account %d: %w, want ErrNotFound", version, id, err)
				}
				return nil
			})
		}
	}
	if err := errors.Join(c.meet("SetAccountEmail", "", nil, nil, set...)...); err != nil {
		t.Error(err)
	}
	if n := c.count("SELECT count(*)::int FROM accounts WHERE email = 'new@x'"); n != 20 {
		t.Errorf("%d emails were set, want 20", n)
	}
	if err := errors.Join(c.meet("RemoveAccount", "", nil, nil, removed...)...); err != nil {
		t.Error(err)
	}
	if n := c.count("SELECT count(*)::int FROM accounts"); n != 0 {
		t.Errorf("%d accounts are left, want none", n)
	}
	if c.ran("SetAccountEmailBatch") == 0 || c.ran("RemoveAccountBatch") == 0 {
		t.Error("no calls were coalesced")
	}
}

// distinctOnly makes a derived statement fail if an argument occurs twice in one of its arrays.
func distinctOnly(t *testing.T, name string, param int) []postgres.Statement {
	t.Helper()
	statements := slices.Clone(db.Statements)
	i := slices.IndexFunc(statements, func(s postgres.Statement) bool { return s.Name == name })
	check := fmt.Sprintf("FROM _held AS _batch\nWHERE 1 / (SELECT (count(*) = count(DISTINCT p))::int FROM unnest($%d::bigint[]) AS p) = 1 AND ", param+1)
	changed := strings.Replace(statements[i].SQL, "FROM _held AS _batch\nWHERE ", check, 1)
	if changed == statements[i].SQL {
		t.Fatalf("%s has another form:\n%s", name, changed)
	}
	statements[i].SQL = changed
	return statements
}

// TestBatch_OneRow: calls of one row are never in one batch, and each sees the change of the one
// before it.
func TestBatch_OneRow(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := newCrowdOf(t, &log, distinctOnly(t, "ChangeAccountBatch", 2))
	ids := c.accounts(4)
	var mu sync.Mutex
	versions := map[int64][]int32{}
	var calls []func() error
	for i := range 60 {
		id := ids[i%4]
		calls = append(calls, func() error {
			row, err := c.q.ChangeAccount(t.Context(), db.ChangeAccountParams{ID: id})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				versions[id] = append(versions[id], row.Version)
			}
			return err
		})
	}
	if err := errors.Join(c.meet("ChangeAccount", "", nil, nil, calls...)...); err != nil {
		t.Error(err)
	}
	for id, seen := range versions {
		slices.Sort(seen)
		if len(seen) != 15 || seen[0] != 2 || seen[14] != 16 || len(slices.Compact(seen)) != 15 {
			t.Errorf("the versions of account %d are %v, want each of 2 to 16 once", id, seen)
		}
	}
	if n := c.errorsOf("ChangeAccountBatch"); n != 0 {
		t.Errorf("%v batches had two calls of one row", n)
	}
	if c.ran("ChangeAccountBatch") == 0 {
		t.Error("no calls were coalesced")
	}
	if n := c.router.Outstanding("ChangeAccount"); n != 0 {
		t.Errorf("%d calls are outstanding", n)
	}
	if n := c.router.Rows("ChangeAccount"); n != 0 {
		t.Errorf("%d rows are still marked", n)
	}
}

// TestBatch_LockedRow: a row that another transaction has locked delays only its own calls, and
// they take one connection together.
func TestBatch_LockedRow(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ids := c.accounts(20)
	var free atomic.Int32
	var calls []func() error
	for _, id := range ids[1:] {
		call := c.change(db.ChangeAccountParams{ID: id}, nil)
		calls = append(calls, func() error { defer free.Add(1); return call() })
	}
	for range 8 {
		calls = append(calls, c.change(db.ChangeAccountParams{ID: ids[0]}, nil))
	}
	errs := c.meet("ChangeAccount", fmt.Sprintf("UPDATE accounts SET age = 1 WHERE id = %d", ids[0]), nil, func() {
		eventually(t, "all others are changed", func() bool { return free.Load() == 19 })
		eventually(t, "one call waits for the row", func() bool { return c.router.Pool().Stat().AcquiredConns() == 1 })
		if n := c.router.Rows("ChangeAccount"); n != 1 {
			t.Errorf("%d rows are marked, want 1", n)
		}
	}, calls...)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if n := c.errorsOf("ChangeAccountBatch"); n != 0 {
		t.Errorf("%v batches waited for the row until they failed", n)
	}
	if n := c.count(fmt.Sprintf("SELECT version FROM accounts WHERE id = %d", ids[0])); n != 9 {
		t.Errorf("the locked account has version %d after 8 changes, want 9", n)
	}
	if c.ran("ChangeAccountBatch") == 0 {
		t.Error("no calls were coalesced")
	}
}

// TestBatch_HotRow: if all callers change one row, several calls of it run at a time, and they
// leave half of the pool to others while another transaction has locked the row.
func TestBatch_HotRow(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := newCrowdOf(t, &log, distinctOnly(t, "ChangeAccountBatch", 2))
	id := c.accounts(1)[0]
	conns, limit := int(c.router.Pool().Config().MaxConns), c.router.PassLimit("ChangeAccount")
	if limit < 2 || limit > conns/2 {
		t.Fatalf("%d calls of a row may run at a time on %d connections: want at least 2, and at most half of them", limit, conns)
	}
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	var changes atomic.Int64
	const callerCount = 32
	for range callerCount {
		callers.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.q.ChangeAccount(t.Context(), db.ChangeAccountParams{ID: id}); err != nil {
					t.Error(err)
					return
				}
				changes.Add(1)
			}
		})
	}
	eventually(t, "the row is hot", func() bool { return changes.Load() > 200 })
	err := postgres.InTx(t.Context(), c.router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		if _, err := tx.Exec(t.Context(), "SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", id); err != nil {
			return err
		}
		before, waiting := changes.Load(), 0
		eventually(t, "all callers wait, and several of them for the row", func() bool {
			// Not InFlight, because a call that was answered a moment ago may still have its connection.
			waiting = c.count("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
			return waiting >= 2 && c.router.Outstanding("ChangeAccount") == callerCount
		})
		if waiting > limit {
			t.Errorf("%d calls wait for the row with a connection, want at most %d", waiting, limit)
		}
		if n := changes.Load(); n > before+int64(conns) {
			t.Errorf("%d changes of a locked row", n-before)
		}
		return nil
	})
	stop()
	callers.Wait()
	if err != nil {
		t.Error(err)
	}
	if n := c.count(fmt.Sprintf("SELECT version FROM accounts WHERE id = %d", id)); int64(n) != changes.Load()+1 {
		t.Errorf("the account has version %d after %d changes", n, changes.Load())
	}
	if n := c.errorsOf("ChangeAccountBatch"); n != 0 {
		t.Errorf("%v batches had two calls of one row", n)
	}
	if n := c.router.Outstanding("ChangeAccount"); n != 0 {
		t.Errorf("%d calls are outstanding", n)
	}
	if n := c.router.Rows("ChangeAccount"); n != 0 {
		t.Errorf("%d rows are still marked", n)
	}
}

// TestBatch_UpdateCallerLeaves: a caller who leaves does not keep the row from the next caller.
func TestBatch_UpdateCallerLeaves(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ids := c.accounts(2)
	gone, leave := context.WithCancel(t.Context())
	left := make(chan struct{}, 7)
	change := func(ctx context.Context) func() error {
		return func() error {
			_, err := c.q.ChangeAccount(ctx, db.ChangeAccountParams{ID: ids[0]})
			if ctx != gone {
				return err
			}
			left <- struct{}{}
			if !errors.Is(err, context.Canceled) {
				return fmt.Errorf("a caller who left: %w", err)
			}
			return nil
		}
	}
	calls := slices.Repeat([]func() error{c.change(db.ChangeAccountParams{ID: ids[1]}, nil)}, c.router.DirectLimit("ChangeAccount"))
	for i := range 12 {
		ctx := t.Context()
		if i%2 == 0 {
			ctx = gone
		}
		calls = append(calls, change(ctx))
	}
	var last sync.WaitGroup
	errs := c.meet("ChangeAccount", "", func() {
		last.Go(func() {
			if err := change(gone)(); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "the last one waits", func() bool { return c.router.Outstanding("ChangeAccount") == len(calls)+1 })
		leave()
		for range 7 {
			<-left
		}
	}, last.Wait, calls...)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if n := c.router.Rows("ChangeAccount"); n != 0 {
		t.Errorf("%d rows are still marked", n)
	}
	// A call that had been sent when its caller left may have been stored.
	n := c.count(fmt.Sprintf("SELECT version FROM accounts WHERE id = %d", ids[0]))
	if n < 7 || n > 8 {
		t.Errorf("the account has version %d, want 7, or 8 with the call that had been sent", n)
	}
}

func TestBatch_UpdatesOff(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), CoalesceUpdates: new(false)})
	for statement, want := range map[string]bool{"ChangeAccount": false, "SetAccountEmail": false, "RemoveAccount": false, "CreateAccount": true, "GetAccount": true} {
		if d.Router.HasCoalescer(statement) != want {
			t.Errorf("%s has a coalescer: %t, want %t", statement, !want, want)
		}
	}
}
