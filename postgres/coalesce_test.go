package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// crowd is a database whose accounts can be locked, so that calls are concurrent.
type crowd struct {
	t      *testing.T
	router *postgres.Router
	q      *db.Queries
	seen   *prometheus.Registry
}

// newCrowd opens a database in which a call may wait for a lock for as long as a test may
// take.
func newCrowd(t *testing.T) *crowd {
	c := &crowd{t: t, seen: prometheus.NewRegistry()}
	statements := slices.Clone(db.Statements)
	for i := range statements {
		statements[i].Timeout = time.Minute
	}
	c.router = open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 4, AcquireTimeout: time.Minute, Statements: statements, Observers: observers(c.seen)})
	c.q = db.New(c.router)
	return c
}

// ran returns how many calls of a statement have ended.
func (c *crowd) ran(statement string) float64 {
	return gather(c.t, c.seen)["quern_query_duration_seconds{query="+statement+",server=primary}"]
}

// meet starts the calls so that the first ones are running and the others are queued. It calls
// before, releases the running calls, calls after, and returns the errors when all calls have
// ended. To block them, a separate transaction executes the statement other. It is rolled back
// once after has returned.
func (c *crowd) meet(statement, other string, before, after func(), calls ...func() error) []error {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.router.Config().URL)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(c.t.Context(), "BEGIN; "+other+"; SAVEPOINT unlocked; LOCK TABLE accounts"); err != nil {
		c.t.Fatal(err)
	}
	direct := c.router.DirectLimit(statement)
	errs := make([]error, len(calls))
	var wg sync.WaitGroup
	for i, call := range calls {
		if i == direct {
			eventually(c.t, "the first are under way", func() bool { return int(c.router.Pool().Stat().AcquiredConns()) == direct })
		}
		wg.Go(func() { errs[i] = call() })
	}
	eventually(c.t, "the others wait", func() bool { return c.router.Outstanding(statement) == len(calls) })
	if before != nil {
		before()
	}
	if _, err := conn.Exec(c.t.Context(), "ROLLBACK TO unlocked"); err != nil {
		c.t.Fatal(err)
	}
	if after != nil {
		after()
	}
	if _, err := conn.Exec(c.t.Context(), "ROLLBACK"); err != nil {
		c.t.Fatal(err)
	}
	wg.Wait()
	return errs
}

func (c *crowd) count(sql string) (n int) {
	c.t.Helper()
	if err := c.router.Pool().QueryRow(c.t.Context(), sql).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *crowd) user(name string) *db.Account {
	c.t.Helper()
	u, err := c.q.CreateAccount(c.t.Context(), db.CreateAccountParams{Username: name, Email: "x", Tags: []string{name}})
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

func TestBatch_Reads(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ids := []int64{c.user("ann").ID, c.user("ben").ID, c.user("cat").ID}
	gone, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	var calls []func() error
	var found []*db.Account
	var mu sync.Mutex
	for i := range 40 {
		id := ids[i%3]
		calls = append(calls, func() error {
			u, err := c.q.GetAccount(t.Context(), id)
			mu.Lock()
			defer mu.Unlock()
			found = append(found, u)
			if err == nil && u.ID != id {
				err = fmt.Errorf("got user %d for %d", u.ID, id)
			}
			return err
		})
	}
	calls = append(calls,
		func() error { _, err := c.q.GetAccount(t.Context(), -1); return err },
		func() error { defer close(left); _, err := c.q.GetAccount(gone, ids[0]); return err },
	)
	errs := c.meet("GetAccount", "", func() {
		cancel()
		<-left // immediately, although the batch has not been answered
	}, nil, calls...)
	for i, err := range errs[:40] {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if !errors.Is(errs[40], postgres.ErrNotFound) {
		t.Errorf("a user that does not exist: %v, want ErrNotFound", errs[40])
	}
	if !errors.Is(errs[41], context.Canceled) || errors.Is(errs[41], postgres.ErrCommitUnknown) {
		t.Errorf("a cancelled caller: %v, want context.Canceled and nothing else", errs[41])
	}
	if n := c.ran("GetAccountBatch"); n < 1 || n > 6 {
		t.Errorf("the queued calls were sent in %v statements, want 1 to 6", n)
	}
	if n := c.ran("GetAccount"); n != 42 {
		t.Errorf("%v calls were counted, want 42", n)
	}
	for i, u := range found {
		u.Tags[0] = "changed by another"
		for _, other := range found[i+1:] {
			if other.Tags[0] == u.Tags[0] {
				t.Fatal("two callers share a tag")
			}
		}
	}
}

func TestBatch_Inserts(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.user("taken")
	create := func(name string, age *int32, want error, constraint string) func() error {
		return func() error {
			u, err := c.q.CreateAccount(t.Context(), db.CreateAccountParams{Username: name, Email: name + "@x", Age: age, Tags: []string{name, `"`}})
			var typed *postgres.Error
			switch {
			case want != nil && !errors.Is(err, want):
				return fmt.Errorf("%q: %v, want %v", name, err, want)
			case want == nil && err != nil:
				return err
			case err != nil && (!errors.As(err, &typed) || typed.Constraint != constraint || typed.Statement != "CreateAccount"):
				return fmt.Errorf("%q: %w: %s of %s, want %s of CreateAccount", name, err, typed.Constraint, typed.Statement, constraint)
			case err == nil && (u.Username != name || u.Email != name+"@x" || !slices.Equal(u.Tags, []string{name, `"`}) || u.ID == 0 || u.Version != 1):
				return fmt.Errorf("%q got %+v", name, u)
			case err == nil && (u.Age == nil) != (age == nil):
				return fmt.Errorf("%q of age %v got %v", name, age, u.Age)
			}
			return nil
		}
	}
	old, young := int32(151), int32(7)
	var calls []func() error
	for i := range 20 {
		calls = append(calls, create(fmt.Sprint("null", i), nil, nil, ""), create(fmt.Sprint("seven", i), &young, nil, ""))
	}
	calls = append(calls,
		create("taken", nil, postgres.ErrUnique, "accounts_username_key"),
		create("too old", &old, postgres.ErrCheck, "accounts_age_range"),
		create("", nil, postgres.ErrCheck, "accounts_username_length"),
		create("nul\x00", nil, postgres.ErrInvalidValue, ""),
	)
	for _, err := range c.meet("CreateAccount", "", nil, nil, calls...) {
		if err != nil {
			t.Error(err)
		}
	}
	if c.ran("CreateAccountBatch") == 0 {
		t.Error("no calls were coalesced")
	}
	if n := c.count("SELECT count(*) FROM accounts"); n != 41 {
		t.Errorf("%d accounts are stored, want 41", n)
	}
}

// A row that waits for another transaction delays the other calls of its batch only for a
// limited time.
func TestBatch_OneInsertWaits(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	var free atomic.Int32
	create := func(name string) error {
		_, err := c.q.CreateAccount(t.Context(), db.CreateAccountParams{Username: name, Email: "x", Tags: []string{}})
		return err
	}
	var calls []func() error
	for i := range 12 {
		calls = append(calls, func() error { defer free.Add(1); return create(fmt.Sprint("free", i)) })
	}
	calls = append(calls, func() error { return create("wanted") })
	errs := c.meet("CreateAccount", "INSERT INTO accounts (username, email) VALUES ('wanted', 'x')", nil, func() {
		eventually(t, "all others are stored", func() bool { return free.Load() == 12 })
	}, calls...)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if c.ran("CreateAccountBatch") == 0 {
		t.Error("no calls were coalesced")
	}
}

// panics is an argument that cannot be encoded.
type panics struct{ marshalled *atomic.Int32 }

func (p panics) MarshalJSON() ([]byte, error) {
	p.marshalled.Add(1)
	panic("cannot be encoded")
}

func TestBatch_ArgumentPanics(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	create := func(name string, tags any) error {
		var id int64
		var rest [7]any
		i := slices.IndexFunc(db.Statements, func(s postgres.Statement) bool { return s.Name == "CreateAccount" })
		return c.router.QueryRow(t.Context(), db.Statements[i].SQL, name, "x", nil, tags).
			Scan(&id, &rest[0], &rest[1], &rest[2], &rest[3], &rest[4], &rest[5], &rest[6])
	}
	var calls []func() error
	for i := range 12 {
		calls = append(calls, func() error { return create(fmt.Sprint("fine", i), []string{}) })
	}
	var marshalled atomic.Int32
	var met any
	calls = append(calls, func() error {
		defer func() { met = recover() }()
		return create("panics", panics{&marshalled})
	})
	for _, err := range c.meet("CreateAccount", "", nil, nil, calls...) {
		if err != nil {
			t.Error(err)
		}
	}
	if met == nil || marshalled.Load() < 2 {
		t.Errorf("its caller got %v after %d attempts, want a panic after one shared attempt", met, marshalled.Load())
	}
	if n := c.count("SELECT count(*) FROM accounts"); n != 12 {
		t.Errorf("%d accounts are stored, want 12", n)
	}
	// All connections have been returned.
	hold(t, c.router, int(c.router.Config().MaxConns))
}

// TestBatch_NoneBeside: a call made while a batch is running is sent as a batch, too, even if
// little else is running.
func TestBatch_NoneBeside(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	id := c.user("ann").ID
	get := func(ctx context.Context) func() error {
		return func() error { _, err := c.q.GetAccount(ctx, id); return err }
	}
	gone, leave := context.WithCancel(t.Context())
	calls := slices.Repeat([]func() error{get(gone)}, c.router.DirectLimit("GetAccount"))
	var late sync.WaitGroup
	errs := c.meet("GetAccount", "", func() {
		leave()
		eventually(t, "only the batch is left", func() bool { return c.router.Outstanding("GetAccount") == 1 })
		late.Go(func() {
			if err := get(t.Context())(); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "there is another call", func() bool { return c.router.Outstanding("GetAccount") == 2 })
	}, late.Wait, append(calls, get(t.Context()))...)
	if err := errs[len(errs)-1]; err != nil {
		t.Error(err)
	}
	if n := c.ran("GetAccountBatch"); n != 2 {
		t.Errorf("%v batches, want 2", n)
	}
}

func TestBatch_TooManyWait(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	id := c.user("ann").ID
	get := func() error { _, err := c.q.GetAccount(t.Context(), id); return err }
	var others sync.WaitGroup
	refused := errors.New("none was refused")
	first := make([]func() error, c.router.DirectLimit("GetAccount"))
	for i := range first {
		first[i] = get
	}
	errs := c.meet("GetAccount", "", func() {
		// Some of the calls have been dequeued and wait for a connection. It is not known
		// how many calls are about to be queued, so the last ones may exceed the limit.
		eventually(t, "the queue is full", func() bool {
			for range min(500, 10_000-c.router.Waiting("GetAccount")) {
				others.Go(func() {
					if err := get(); err != nil && !errors.Is(err, postgres.ErrPoolExhausted) {
						t.Error(err)
					}
				})
			}
			return c.router.Waiting("GetAccount") == 10_000
		})
		refused = get()
	}, others.Wait, first...)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if !errors.Is(refused, postgres.ErrPoolExhausted) {
		t.Errorf("one too many: %v, want ErrPoolExhausted", refused)
	}
}

func TestBatch_Off(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), CoalesceReads: new(false), CoalesceInserts: new(false)})
	for _, statement := range []string{"GetAccount", "GetNote", "GetAccountByUsername", "CreateAccount", "CreateNote", "CreateJob"} {
		if d.Router.HasCoalescer(statement) {
			t.Errorf("%s has a coalescer", statement)
		}
	}
}

// TestBatch_AfterLargeOne: after a large batch, only one read runs individually, because more are
// about to come. After a small one, as many as before.
func TestBatch_AfterLargeOne(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	ann := c.user("ann").ID
	get := func() error { _, err := c.q.GetAccount(t.Context(), ann); return err }
	// together makes calls while the table is locked, and returns how many statements ran for them.
	together := func(calls int) float64 {
		t.Helper()
		before := c.ran("GetAccountBatch")
		conn, err := pgx.Connect(t.Context(), c.router.Config().URL)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE accounts"); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range calls {
			wg.Go(func() {
				if err := get(); err != nil {
					t.Error(err)
				}
			})
		}
		eventually(t, "all calls are outstanding", func() bool { return c.router.Outstanding("GetAccount") == calls })
		if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		return c.ran("GetAccountBatch") - before
	}
	if direct := c.router.DirectLimit("GetAccount"); direct < 2 {
		t.Fatalf("%d calls run individually, and this test needs 2", direct)
	}
	if n := together(2); n != 0 {
		t.Errorf("2 calls ran in %v batches before any load, want 0", n)
	}
	c.router.SetLastBatch("GetAccount", 8)
	if n := together(2); n != 1 {
		t.Errorf("2 calls ran in %v batches after a large one, want 1", n)
	}
	if n := together(2); n != 0 {
		t.Errorf("2 calls ran in %v batches after a small one, want 0", n)
	}
}
