package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// TestTable tests every row of the table, with errors that are wrapped as deeply as in
// practice.
func TestTable(t *testing.T) {
	t.Parallel()
	typed := func(kind error, constraint string) error {
		return fmt.Errorf("act: %w", &postgres.Error{Kind: kind, Constraint: constraint, Err: errors.New("s3cret")})
	}
	for name, test := range map[string]struct {
		err    error
		status int
		code   code
	}{
		"VersionMismatch": {fmt.Errorf("act: %w", store.ErrVersionMismatch), 412, codeVersionMismatch},
		"NotFound":        {typed(postgres.ErrNotFound, ""), 404, codeNotFound},
		"UsernameTaken":   {typed(postgres.ErrUnique, "users_username_key"), 409, codeUsernameTaken},
		"UnknownUser":     {typed(postgres.ErrForeignKey, "posts_user_id_fkey"), 422, codeUnknownUser},
		"Check":           {typed(postgres.ErrCheck, "users_age_range"), 422, codeInvalid},
		"InvalidValue":    {typed(postgres.ErrInvalidValue, ""), 422, codeInvalid},
		"Unavailable":     {typed(postgres.ErrUnavailable, ""), 503, codeUnavailable},
		"PoolExhausted":   {typed(postgres.ErrPoolExhausted, ""), 503, codeUnavailable},
		"Serialization":   {typed(postgres.ErrSerialization, ""), 503, codeUnavailable},
		"Timeout":         {typed(postgres.ErrTimeout, ""), 504, codeTimeout},
		"Deadline":        {context.DeadlineExceeded, 504, codeTimeout},
		"CommitUnknown":   {fmt.Errorf("act: %w", &postgres.Error{Kind: postgres.ErrCommitUnknown, Err: typed(postgres.ErrUnavailable, "")}), 500, codeCommitUnknown},
		"ImportsBusy":     {fmt.Errorf("act: %w", store.ErrImportsBusy), 503, codeImportsBusy},
		"PageTooLarge":    {fmt.Errorf("act: %w", store.ErrPageTooLarge), 422, codePageTooLarge},
		"NoSpool":         {fmt.Errorf("act: %w", store.ErrNoSpool), 507, codeNoSpool},
		"OtherUnique":     {typed(postgres.ErrUnique, "other_key"), 409, codeConflict},
		"OtherForeignKey": {typed(postgres.ErrForeignKey, "other_fkey"), 422, codeUnknownReference},
		"OtherExclusion":  {typed(postgres.ErrExclusion, "other_excl"), 409, codeConflict},
		"OtherCheck":      {typed(postgres.ErrCheck, "other_check"), 422, codeInvalid},
		"Untyped":         {typed(nil, ""), 500, codeInternal},
		"Plain":           {errors.New("s3cret"), 500, codeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &logged{}
			s := &server{Config: Config{Logger: textLogger(log)}}
			p := s.problemOf(t.Context(), "act", test.err)
			if p.Status != test.status || p.Code != test.code {
				t.Errorf("%d %s, want %d %s", p.Status, p.Code, test.status, test.code)
			}
			if retry := p.header.Get("Retry-After"); (retry == "1") != (test.status == 503) {
				t.Errorf("Retry-After %q", retry)
			}
			if strings.Contains(fmt.Sprintf("%+v", *p), "s3cret") {
				t.Errorf("the cause is shown: %+v", *p)
			}
			if lines := strings.Count(log.String(), "\n"); lines > 1 || (lines == 1) != (test.status >= 500) {
				t.Errorf("logged %d lines: %s", lines, log)
			}
		})
	}
}

// TestInternal changes the schema so that the server's statements fail.
func TestInternal(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.Exec(t, "ALTER TABLE users RENAME COLUMN email TO e_mail")
	a := c.do("GET", "/v1/users/1", "", "X-Request-Id", "quoted-1")
	a.problem(500, codeInternal)
	for _, secret := range []string{"e_mail", "email", "42703", "GetUser", "pgx", "column"} {
		if strings.Contains(a.body, secret) {
			t.Errorf("the cause is shown: %s", a.body)
		}
	}
	log := c.log.String()
	if strings.Count(log, "\n") != 1 || !strings.Contains(log, "42703") || !strings.Contains(log, "request_id=quoted-1") || !strings.Contains(log, "operation=getUser") {
		t.Errorf("logged %q, want the cause and the request once", log)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	t.Run("Gone", func(t *testing.T) {
		t.Parallel()
		c := newClient(t)
		c.db.Router.Close()
		for _, path := range []string{"/v1/users/1", "/v1/users", "/v1/stats/overview"} {
			a := c.do("GET", path, "")
			a.problem(503, codeUnavailable)
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q, want 1", a.header.Get("Retry-After"))
			}
		}
		c.do("POST", "/v1/users", `{"username":"x","email":"x"}`).problem(503, codeUnavailable)
		c.get("/livez")
	})
	t.Run("PoolExhausted", func(t *testing.T) {
		t.Parallel()
		d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 1, AcquireTimeout: 500 * time.Millisecond})
		c := newClient(t, func(cfg *Config) { cfg.Queries, cfg.Store = d.Queries, d.Store })
		conn, err := d.Router.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release() // a second time does nothing
		a := c.do("GET", "/v1/users", "")
		a.problem(503, codeUnavailable)
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q, want 1", a.header.Get("Retry-After"))
		}
		conn.Release()
		c.get("/v1/users")
	})
}

// warm opens all connections of a pool, so that no call has to open one within its deadline.
func warm(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
}

// lock locks the table of users until the end of the test.
func (c *client) lock() {
	c.t.Helper()
	warm(c.t, c.db.Router.Pool())
	tx, err := c.db.Router.Pool().Begin(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(c.t.Context())) })
	if _, err := tx.Exec(c.t.Context(), "LOCK TABLE users IN ACCESS EXCLUSIVE MODE"); err != nil {
		c.t.Fatal(err)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), Statements: db.Statements})
	c := newClient(t, func(cfg *Config) { cfg.Queries, cfg.Store = d.Queries, d.Store })
	c.db = d
	c.lock()
	began := time.Now()
	c.do("GET", "/v1/users/1", "").problem(504, codeTimeout)
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("it took %v: QUERY_TIMEOUT ended it, and not @timeout", took)
	}
	if !strings.Contains(c.log.String(), "GetUser") {
		t.Errorf("logged %q, want which statement", c.log)
	}
}

// TestClientGone sends a request and does not wait for the answer. Nothing is logged.
func TestClientGone(t *testing.T) {
	t.Parallel()
	done := make(chan struct{})
	c := newClient(t)
	c.lock()
	handler := New(Config{Queries: c.db.Queries, Store: c.db.Store, Logger: textLogger(c.log)})
	c.url = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		handler.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", c.url+"/v1/users", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer cancel()
		eventually(t, "its statement waits", func() bool {
			return c.db.Count(t, "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") > 0
		})
	}()
	if resp, err := http.DefaultClient.Do(r); err == nil {
		resp.Body.Close()
		t.Fatalf("answered with %d", resp.StatusCode)
	}
	<-done
	if c.log.String() != "" {
		t.Errorf("logged: %s", c.log)
	}
}

// TestRecover has an operation that panics.
func TestRecover(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) {
		cfg.Ready = func(context.Context) error { panic("s3cret") }
	})
	a := c.do("GET", "/readyz", "", "X-Request-Id", "quoted-2")
	a.problem(500, codeInternal)
	if strings.Contains(a.body, "s3cret") {
		t.Errorf("the cause is shown: %s", a.body)
	}
	if log := c.log.String(); !strings.Contains(log, "s3cret") || !strings.Contains(log, "quoted-2") || !strings.Contains(log, "errors_test.go") {
		t.Errorf("logged %q, want the cause, the request and the place", log)
	}
	c.get("/livez")
}

// TestConstraint breaks rules of the tables that the validator of requests checks first.
func TestConstraint(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	u := d.CreateUser(t)
	_, err := d.Router.Exec(t.Context(), "UPDATE users SET age = 151 WHERE id = $1", u.ID)
	if p := lookup(err); p == nil || p.Code != codeInvalid {
		t.Errorf("a broken check is %+v, want invalid (%v)", p, err)
	}
	_, err = d.Router.Exec(t.Context(), "SELECT $1::text", "\x00")
	if p := lookup(err); p == nil || p.Code != codeInvalid {
		t.Errorf("a NUL is %+v, want invalid (%v)", p, err)
	}
	var unwrapped *pgconn.PgError
	if !errors.As(err, &unwrapped) {
		t.Errorf("%v did not come from PostgreSQL", err)
	}
}
