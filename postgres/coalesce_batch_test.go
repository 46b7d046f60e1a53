package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// newCrowdOf is like newCrowd, but with other statements and a log.
func newCrowdOf(t *testing.T, log *bytes.Buffer, statements []postgres.Statement) *crowd {
	c := &crowd{t: t, seen: prometheus.NewRegistry()}
	c.router = open(t, postgres.Config{
		URL: testdata.NewURL(t), MaxConns: 4, AcquireTimeout: time.Minute, QueryTimeout: time.Minute, Statements: statements,
		Observers: observers(c.seen), Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	c.q = db.New(c.router)
	return c
}

// derived returns a read of accounts and the statement that answers several calls of it.
func derived(sql string, types ...string) []postgres.Statement {
	one := postgres.Statement{Name: "Read", Kind: postgres.One, SQL: sql, Batch: "ReadBatch"}
	many := postgres.Statement{Name: "ReadBatch", Kind: postgres.Many, DerivedFrom: "Read"}
	var arrays, columns []string
	for i, typ := range types {
		p := fmt.Sprint("p", i+1)
		one.Params = append(one.Params, postgres.Param{Name: p, Type: typ})
		many.Params = append(many.Params, postgres.Param{Name: p, Type: typ + "[]"})
		arrays, columns = append(arrays, fmt.Sprintf("(SELECT $%d::%s[])", i+1, typ)), append(columns, p)
		sql = strings.ReplaceAll(sql, fmt.Sprint("$", i+1), "_batch."+p)
	}
	many.SQL = fmt.Sprintf("SELECT _batch.ord, one.* FROM unnest(%s) WITH ORDINALITY AS _batch (%s, ord), LATERAL (SELECT * FROM (%s) AS one OFFSET 0) AS one",
		strings.Join(arrays, ", "), strings.Join(columns, ", "), sql)
	return []postgres.Statement{one, many}
}

// errorsOf returns how often a statement failed.
func (c *crowd) errorsOf(statement string) (n float64) {
	for key, value := range gather(c.t, c.seen) {
		if strings.HasPrefix(key, "quern_query_errors_total{") && strings.Contains(key, "query="+statement+"}") {
			n += value
		}
	}
	return n
}

// TestBatch_InvalidText: a text that PostgreSQL rejects is sent individually, so it does
// not fail the other calls.
func TestBatch_InvalidText(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.user("ann")
	var calls []func() error
	for i := range 24 {
		name := []string{"ann", "nobody", "bad\xff", "nul\x00"}[i%4]
		calls = append(calls, func() error {
			u, err := c.q.GetAccountByUsername(t.Context(), name)
			switch {
			case name == "ann" && err == nil && u.Username == name, name == "nobody" && errors.Is(err, postgres.ErrNotFound):
				return nil
			case name != "ann" && name != "nobody" && errors.Is(err, postgres.ErrInvalidValue):
				return nil
			}
			return fmt.Errorf("%q: %v, %w", name, u, err)
		})
	}
	if err := errors.Join(c.meet("GetAccountByUsername", "", nil, nil, calls...)...); err != nil {
		t.Error(err)
	}
	if c.ran("GetAccountByUsernameBatch") == 0 {
		t.Error("no calls were coalesced")
	}
	if n := c.errorsOf("GetAccountByUsernameBatch"); n != 0 {
		t.Errorf("%v shared statements failed, want none", n)
	}
}

// TestBatch_OneWrongArgument finds the one call that makes a shared statement fail.
func TestBatch_OneWrongArgument(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	sql := "SELECT id, username FROM accounts WHERE username ~ $1 AND (age = $2 OR age IS NULL AND $2 IS NULL) ORDER BY id"
	c := newCrowdOf(t, &log, derived(sql, "text", "integer"))
	ann := c.user("ann")
	read := func(pattern string, age any) (id int64, name string, err error) {
		err = c.router.QueryRow(t.Context(), sql, pattern, age).Scan(&id, &name)
		return id, name, err
	}
	var calls []func() error
	for i := range 32 {
		calls = append(calls, func() error {
			switch id, name, err := read(fmt.Sprintf("^a%c", 'n'+rune(i%2)), nil); {
			case i%2 == 0 && (err != nil || id != ann.ID || name != "ann"):
				return fmt.Errorf("got %d, %q, %w", id, name, err)
			case i%2 == 1 && !errors.Is(err, postgres.ErrNotFound):
				return fmt.Errorf("an account that does not exist: %w", err)
			}
			return nil
		})
	}
	calls = append(calls, func() error {
		if _, _, err := read("(", nil); !errors.Is(err, postgres.ErrInvalidValue) {
			return fmt.Errorf("a wrong pattern: %w, want ErrInvalidValue", err)
		}
		return nil
	}, func() error {
		if _, _, err := read("^a", "no number"); err == nil {
			return errors.New("a wrong age: no error")
		}
		return nil
	})
	for _, err := range c.meet("Read", "", nil, nil, calls...) {
		if err != nil {
			t.Error(err)
		}
	}
	// Finding them by halving takes several statements.
	if c.ran("ReadBatch") < 6 || strings.Contains(log.String(), "fails every time") {
		t.Errorf("%v shared statements, and the log:\n%s", c.ran("ReadBatch"), &log)
	}
}

// TestBatch_EqualArguments: each distinct pair of arguments is sent once.
func TestBatch_EqualArguments(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	// A sequence counts how often the server evaluates the statement. nextval is volatile. The
	// plugin would not derive a statement that calls it.
	sql := "SELECT nextval('sent'), $1::text, $2::integer FROM accounts LIMIT 1"
	c := newCrowdOf(t, &log, derived(sql, "text", "integer"))
	c.user("ann")
	if _, err := c.router.Pool().Exec(t.Context(), "CREATE SEQUENCE sent"); err != nil {
		t.Fatal(err)
	}
	var calls []func() error
	for i := range 60 {
		text, number := fmt.Sprint("a", i%2), int32(i%3)
		calls = append(calls, func() error {
			var n int64
			var gotText string
			var gotNumber int32
			if err := c.router.QueryRow(t.Context(), sql, text, &number).Scan(&n, &gotText, &gotNumber); err != nil {
				return err
			}
			if gotText != text || gotNumber != number {
				return fmt.Errorf("got %q and %d for %q and %d", gotText, gotNumber, text, number)
			}
			return nil
		})
	}
	for _, err := range c.meet("Read", "", nil, nil, calls...) {
		if err != nil {
			t.Error(err)
		}
	}
	// A batch contains at most the six pairs.
	alone := c.router.DirectLimit("Read")
	if sent, most := c.count("SELECT last_value FROM sent"), alone+6*int(c.ran("ReadBatch")); sent > most || sent < 6 {
		t.Errorf("the server evaluated %d calls, want 6 to %d", sent, most)
	}
	if c.ran("ReadBatch") == 0 {
		t.Error("no calls were coalesced")
	}
}

// TestBatch_ManyRows: each call gets its first row, even if the statement finds more.
func TestBatch_ManyRows(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	sql := "SELECT $1::bigint + n, repeat('x', 1000) FROM generate_series(1, 2000) AS n, accounts ORDER BY n"
	c := newCrowdOf(t, &log, derived(sql, "bigint"))
	c.user("ann")
	var calls []func() error
	for i := range 40 {
		calls = append(calls, func() error {
			var n int64
			var text string
			if err := c.router.QueryRow(t.Context(), sql, int64(i)).Scan(&n, &text); err != nil || n != int64(i)+1 {
				return fmt.Errorf("call %d got %d, %w", i, n, err)
			}
			return nil
		})
	}
	if err := errors.Join(c.meet("Read", "", nil, nil, calls...)...); err != nil {
		t.Error(err)
	}
}

// TestBatch_FailsEveryTime: a shared statement that the server always rejects is paused,
// with a log entry, and used again later.
func TestBatch_FailsEveryTime(t *testing.T) {
	t.Parallel()
	statements := slices.Clone(db.Statements)
	for i, s := range statements {
		if s.Name == "CreateAccountBatch" {
			statements[i].SQL = strings.Replace(s.SQL, "'accounts_id_seq'", "'not_granted'", 1)
		}
	}
	var log bytes.Buffer
	c := newCrowdOf(t, &log, statements)
	created := 0
	create := func(n int) (calls []func() error) {
		for range n {
			name := fmt.Sprint("user", created)
			created++
			calls = append(calls, func() error {
				_, err := c.q.CreateAccount(t.Context(), db.CreateAccountParams{Username: name, Email: "x", Tags: []string{}})
				return err
			})
		}
		return calls
	}
	if err := errors.Join(c.meet("CreateAccount", "", nil, nil, create(200)...)...); err != nil {
		t.Error(err)
	}
	rests := func() float64 { return gather(t, c.seen)["quern_batch_rests_total{query=CreateAccountBatch}"] }
	failed := c.ran("CreateAccountBatch")
	if rests() != 1 || failed == 0 || failed > 100 {
		t.Errorf("it was paused %v times after %v attempts, want once", rests(), failed)
	}
	if got := log.String(); !strings.Contains(got, "query=CreateAccountBatch") || !strings.Contains(got, "not_granted") {
		t.Errorf("the log does not say what failed and why:\n%s", got)
	}
	crowd := func() {
		var all sync.WaitGroup
		for _, call := range create(200) {
			all.Go(func() {
				if err := call(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if crowd(); c.ran("CreateAccountBatch") != failed {
		t.Errorf("%v more attempts while it was paused", c.ran("CreateAccountBatch")-failed)
	}
	if _, err := c.router.Pool().Exec(t.Context(), "CREATE SEQUENCE not_granted START 1000000"); err != nil {
		t.Fatal(err)
	}
	c.router.EndPause("CreateAccount")
	if err := errors.Join(c.meet("CreateAccount", "", nil, nil, create(50)...)...); err != nil {
		t.Error(err)
	}
	if c.ran("CreateAccountBatch") == failed || rests() != 1 {
		t.Errorf("it was not used again: %v attempts, %v pauses", c.ran("CreateAccountBatch"), rests())
	}
	if n := c.count("SELECT count(*) FROM accounts"); n != created {
		t.Errorf("%d accounts are stored, want %d", n, created)
	}
}
