package postgres_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
	"quern/postgres/testdata"
)

// sharing is a database whose pipelines share a transaction.
type sharing struct {
	*testdata.DB
	seen *prometheus.Registry
}

// newSharing opens a database with one empty table. All pipelines but the first ones share a
// transaction, because the pool has few connections and there is one worker.
func newSharing(t *testing.T, cfg postgres.Config) *sharing {
	t.Helper()
	s := &sharing{seen: prometheus.NewRegistry()}
	if cfg.URL == "" {
		cfg.URL = testdata.NewURL(t)
	}
	cfg.MaxConns, cfg.Observers = 2, observers(s.seen)
	s.DB = testdata.Open(t, cfg)
	s.Exec(t, "CREATE TABLE c (n int PRIMARY KEY, m int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
	return s
}

// meet starts the calls while the pool is in use, so that all but the first ones are queued.
// Then it calls queued, which may be nil, and lets them run. It returns their errors.
func (s *sharing) meet(t *testing.T, queued func(), calls ...func() error) []error {
	t.Helper()
	direct := s.Router.DirectPipelines()
	fill := func() error { return s.pipe(t.Context(), queueSQL("SELECT 1")) }
	var conns []interface{ Release() }
	for range s.Router.Config().MaxConns {
		conn, err := s.Router.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	errs := make([]error, len(calls))
	var all sync.WaitGroup
	for range direct {
		all.Go(func() {
			if err := fill(); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the first pipelines wait for a connection", func() bool { return s.Router.OutstandingPipelines() == direct })
	for i, call := range calls {
		all.Go(func() { errs[i] = call() })
		eventually(t, "the call is queued", func() bool { return s.Router.QueuedPipelines() == i+1 })
	}
	if queued != nil {
		queued()
	}
	for _, conn := range conns {
		conn.Release()
	}
	all.Wait()
	return errs
}

// pipe runs a pipeline that may be shared.
func (s *sharing) pipe(ctx context.Context, all ...queuing) error {
	return postgres.Pipeline(ctx, s.Router, coalesced, batchOf(all...))
}

// coalesced are the options of a pipeline that may be shared. No answer is lost here.
var coalesced = postgres.TxOptions{Coalesce: true, ReadBack: func(postgres.DBTX) error {
	return errors.New("ReadBack was called although nothing was lost")
}}

// transactions returns how many transactions have written the rows of c.
func (s *sharing) transactions(t *testing.T) int {
	t.Helper()
	return s.Count(t, "SELECT count(DISTINCT xmin::text) FROM c")
}

// TestSharedTransaction runs pipelines that share a transaction. Each gets its own rows, has
// its own marker, and is observed as if it were alone.
func TestSharedTransaction(t *testing.T) {
	t.Parallel()
	for _, pooler := range []postgres.Pooler{postgres.PoolerNone, postgres.PoolerTransaction} {
		t.Run(string(pooler), func(t *testing.T) {
			t.Parallel()
			sharedTransaction(t, pooler)
		})
	}
}

func sharedTransaction(t *testing.T, pooler postgres.Pooler) {
	s := newSharing(t, postgres.Config{Pooler: pooler})
	const n = 20
	one := make([]*postgres.Queued[int], n)
	list := make([]*postgres.QueuedRows[int], n)
	var calls []func() error
	for i := range n {
		calls = append(calls, func() error {
			return s.pipe(t.Context(), queueSQL(insertC, i),
				func(b *postgres.Batch) {
					one[i] = postgres.QueueOne(b, ofInt, "UPDATE c SET m = 100 + $1 WHERE n = $1 RETURNING m", i)
				},
				func(b *postgres.Batch) { list[i] = queueMany(b, "SELECT $1 + generate_series(0, 2)", i) })
		})
	}
	for i, err := range s.meet(t, nil, calls...) {
		if err != nil {
			t.Fatal(i, err)
		}
		m, err1 := one[i].Get()
		rows, err2 := list[i].Get()
		if err := errors.Join(err1, err2); err != nil || m != 100+i || len(rows) != 3 || rows[0] != i || rows[2] != i+2 {
			t.Errorf("the pipeline %d got %d and %v, %v", i, m, rows, err)
		}
	}
	if rows, txs := s.Count(t, "SELECT count(*) FROM c"), s.transactions(t); rows != n || txs != 1 {
		t.Errorf("%d rows of %d transactions, want %d of 1", rows, txs, n)
	}
	if markers := s.Count(t, "SELECT count(*) FROM commit_markers"); markers != n+s.Router.DirectPipelines() {
		t.Errorf("%d markers, want one for each pipeline", markers)
	}
	seen := gather(t, s.seen)
	for _, statement := range []string{"insert", "update"} {
		if got := seen["quern_query_duration_seconds{query="+statement+",server=primary}"]; got != n {
			t.Errorf("%v of %d calls of the %s were observed", got, n, statement)
		}
	}
	if shared := seen["quern_coalesced_calls{query=commit}"]; shared != 1 {
		t.Errorf("%v shared transactions were observed, want 1", shared)
	}
}

// unencodable is an argument that panics while it is encoded.
type unencodable struct{}

func (unencodable) Value() (driver.Value, error) { panic("oops") }

// TestSharedTransaction_Own makes one of several pipelines fail in every possible way. It
// gets its own error, and the others are stored as if it had not been there.
func TestSharedTransaction_Own(t *testing.T) {
	t.Parallel()
	oops := errors.New("oops")
	each := func(leave func() error) queuing {
		return func(b *postgres.Batch) {
			queueMany(b, "SELECT generate_series(1, 3)").Each(func(int) error { return leave() })
		}
	}
	kind := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) && !errors.Is(err, postgres.ErrCommitUnknown) }
	}
	committed := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) && errors.Is(err, postgres.ErrCommitted) }
	}
	text := func(want string) func(error) bool {
		return func(err error) bool { return err != nil && strings.Contains(err.Error(), want) }
	}
	for _, c := range []struct {
		name   string
		bad    []queuing
		want   func(error) bool
		stored bool // what the bad pipeline has inserted
		alone  bool // if the others cannot share either
	}{
		{"Unique", []queuing{queueSQL(insertC, -1)}, kind(postgres.ErrUnique), false, false},
		{"Deferred", []queuing{queueSQL("INSERT INTO c VALUES (1000, -1)")}, kind(postgres.ErrUnique), false, true},
		// An ERROR of a deferred trigger leaves the pipeline in doubt that ran into it, as
		// if it had been alone (see TestErrorsInDoubt).
		{"DeferredTrigger", []queuing{queueSQL(insertC, 666)}, func(err error) bool { return errors.Is(err, postgres.ErrCommitUnknown) }, false, true},
		{"Invalid", []queuing{queueSQL("SELECT $1::text", "\x00")}, kind(postgres.ErrInvalidValue), false, false},
		{"Unprepared", []queuing{queueSQL("SELECT * FROM nope")}, text("nope"), false, true},
		{"Unencoded", []queuing{queueSQL(insertC, struct{}{})}, text("struct"), false, true},
		{"Raised", []queuing{queueSQL("DO $$ BEGIN RAISE 'raised'; END $$")}, text("raised"), false, false},
		{"NotFound", []queuing{func(b *postgres.Batch) { queueOne(b, "SELECT n FROM c WHERE n = 77") }}, committed(postgres.ErrNotFound), true, false},
		{"OfARow", []queuing{each(func() error { return oops })}, committed(oops), true, false},
		{"Panic", []queuing{queueSQL("SELECT $1::text", unencodable{})}, text("it panicked: oops"), false, true},
		{"PanicOfARow", []queuing{each(func() error { panic("oops") })}, text("it panicked: oops"), true, false},
		{"Goexit", []queuing{each(func() error { runtime.Goexit(); return nil })}, func(err error) bool { return err == errGone }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSharing(t, postgres.Config{})
			s.Exec(t, `INSERT INTO c VALUES (-1, -1);
				CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
				CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON c DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.n = 666) EXECUTE FUNCTION refuse()`)
			calls := []func() error{}
			for i := range 7 {
				calls = append(calls, func() error { return s.pipe(t.Context(), queueSQL(insertC, i)) })
			}
			calls[3] = func() error {
				return caught(func() error { return s.pipe(t.Context(), append([]queuing{queueSQL(insertC, 3)}, c.bad...)...) })
			}
			for i, err := range s.meet(t, nil, calls...) {
				if i == 3 && !c.want(err) || i != 3 && err != nil {
					t.Errorf("the pipeline %d: err = %v", i, err)
				}
			}
			want, transactions := 6, 1
			if c.stored {
				want = 7
			}
			if c.alone {
				transactions = 6
			}
			if rows := s.Count(t, "SELECT count(*) FROM c WHERE n >= 0"); rows != want {
				t.Errorf("%d rows are stored, want %d", rows, want)
			}
			if txs := s.Count(t, "SELECT count(DISTINCT xmin::text) FROM c WHERE n >= 0"); txs != transactions {
				t.Errorf("%d transactions have written the rows, want %d", txs, transactions)
			}
			if seen := gather(t, s.seen)["quern_coalesced_calls{query=commit}"]; seen == 0 {
				t.Error("no transaction was shared: the test shows nothing")
			}
			// Both connections were released.
			s.Count(t, "SELECT 1")
		})
	}
}

var errGone = errors.New("it called Goexit")

// caught returns the error of a call in a separate goroutine, even if it panics there.
func caught(call func() error) error {
	got := make(chan error, 1)
	go func() {
		err := errGone
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("it panicked: %v", p)
			}
			got <- err
		}()
		err = call()
	}()
	return <-got
}

// TestSharedTransaction_ManyFail makes more pipelines fail than one shared transaction may
// leave out.
func TestSharedTransaction_ManyFail(t *testing.T) {
	t.Parallel()
	s := newSharing(t, postgres.Config{})
	s.Exec(t, "INSERT INTO c VALUES (-1)")
	var calls []func() error
	for i := range 40 {
		if i%3 == 0 {
			i = -1
		}
		calls = append(calls, func() error { return s.pipe(t.Context(), queueSQL(insertC, i)) })
	}
	for i, err := range s.meet(t, nil, calls...) {
		if taken := i%3 == 0; errors.Is(err, postgres.ErrUnique) != taken || !taken && err != nil {
			t.Errorf("the pipeline %d: err = %v", i, err)
		}
	}
	if rows := s.Count(t, "SELECT count(*) FROM c WHERE n >= 0"); rows != 26 {
		t.Errorf("%d rows are stored, want 26", rows)
	}
}

// TestSharedTransaction_OneRow makes all pipelines change one row. The result must be that of
// transactions that run one after another.
func TestSharedTransaction_OneRow(t *testing.T) {
	t.Parallel()
	s := newSharing(t, postgres.Config{})
	s.Exec(t, "INSERT INTO c VALUES (0, 0)")
	got := map[int]int{}
	var mu sync.Mutex
	var calls []func() error
	for range 30 {
		calls = append(calls, func() error {
			var m *postgres.Queued[int]
			err := s.pipe(t.Context(), func(b *postgres.Batch) { m = queueOne(b, "UPDATE c SET m = m + 1 WHERE n = 0 RETURNING m") })
			mu.Lock()
			defer mu.Unlock()
			if value, err := m.Get(); err == nil {
				got[value]++
			}
			return err
		})
	}
	if err := errors.Join(s.meet(t, nil, calls...)...); err != nil {
		t.Fatal(err)
	}
	if m := s.Count(t, "SELECT m FROM c"); m != 30 || len(got) != 30 {
		t.Errorf("the row is %d, and the callers got %d different values, want 30 and 30", m, len(got))
	}
}

// TestSharedTransaction_Locked makes one pipeline wait for a lock. The others are stored
// while it waits.
func TestSharedTransaction_Locked(t *testing.T) {
	t.Parallel()
	s := newSharing(t, postgres.Config{})
	s.Exec(t, "INSERT INTO c VALUES (0)")
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "BEGIN; UPDATE c SET m = 1"); err != nil {
		t.Fatal(err)
	}
	var others sync.WaitGroup
	calls := []func() error{func() error { return s.pipe(ctx, queueSQL("UPDATE c SET m = 2 WHERE n = 0")) }}
	for i := range 5 {
		others.Add(1)
		calls = append(calls, func() error {
			defer others.Done()
			// Less than the timeout of a statement, which would also end the wait.
			ctx, cancel := context.WithTimeout(ctx, s.Router.Config().QueryTimeout/2)
			defer cancel()
			return s.pipe(ctx, queueSQL(insertC, i+1))
		})
	}
	var unlock sync.WaitGroup
	errs := s.meet(t, func() {
		unlock.Go(func() {
			others.Wait()
			_, _ = conn.Exec(ctx, "COMMIT")
		})
	}, calls...)
	unlock.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if m := s.Count(t, "SELECT m FROM c WHERE n = 0"); m != 2 {
		t.Errorf("the locked row is %d, want 2", m)
	}
}

// TestSharedTransaction_Cancelled ends the context of a caller, both while its pipeline is
// queued and after it was sent. It must not affect the others.
func TestSharedTransaction_Cancelled(t *testing.T) {
	t.Parallel()
	s := newSharing(t, postgres.Config{})
	queued, cancelQueued := context.WithCancel(t.Context())
	sent, cancelSent := context.WithCancel(t.Context())
	args := []byte("abc")
	left := make(chan error, 1)
	errs := s.meet(t, func() {
		cancelQueued()
		if err := <-left; !errors.Is(err, context.Canceled) || errors.Is(err, postgres.ErrCommitUnknown) {
			t.Errorf("queued: err = %v, want Canceled and nothing else", err)
		}
	},
		func() error {
			err := s.pipe(queued, queueSQL(insertC, 1))
			left <- err
			return nil
		},
		func() error {
			err := s.pipe(sent, queueSQL(insertC, 2), queueSQL("SELECT $1::bytea", args))
			clear(args) // the caller may use it again
			if !errors.Is(err, postgres.ErrCommitUnknown) || !errors.Is(err, context.Canceled) {
				t.Errorf("sent: err = %v, want ErrCommitUnknown and Canceled", err)
			}
			return nil
		},
		func() error {
			go func() {
				eventually(t, "the transaction is sent", func() bool {
					return s.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'pg_sleep' AND pid <> pg_backend_pid()") == 1
				})
				cancelSent()
			}()
			return s.pipe(t.Context(), queueSQL(insertC, 3), queueSQL("SELECT pg_sleep(1)"))
		},
		func() error { return s.pipe(t.Context(), queueSQL(insertC, 4)) },
	)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if sum := s.Count(t, "SELECT sum(n) FROM c"); sum != 2+3+4 {
		t.Errorf("the sum of the stored rows is %d, want 9", sum)
	}
}

// TestSharedTransaction_Waits bounds the wait of a queued pipeline, as that for a connection.
func TestSharedTransaction_Waits(t *testing.T) {
	t.Parallel()
	s := newSharing(t, postgres.Config{AcquireTimeout: 300 * time.Millisecond})
	for range s.Router.Config().MaxConns {
		conn, err := s.Router.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for i := range 10 {
		ctx := t.Context()
		if i%2 == 0 {
			ctx = soon
		}
		all.Go(func() {
			began := time.Now()
			err := s.pipe(ctx, queueSQL(insertC, i))
			if !errors.Is(err, postgres.ErrPoolExhausted) || time.Since(began) > patience/6 {
				t.Errorf("err = %v after %v, want ErrPoolExhausted", err, time.Since(began))
			}
		})
	}
	all.Wait()
}

// TestSharedTransaction_Calm makes few callers run pipelines, which are not shared.
func TestSharedTransaction_Calm(t *testing.T) {
	t.Parallel()
	s := newSharing(t, postgres.Config{})
	var all sync.WaitGroup
	for caller := range s.Router.DirectPipelines() {
		all.Go(func() {
			for i := range 50 {
				if err := s.pipe(t.Context(), queueSQL(insertC, caller*50+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if shared := gather(t, s.seen)["quern_coalesced_calls{query=commit}"]; shared != 0 {
		t.Errorf("%v transactions were shared", shared)
	}
}

// TestSharedTransaction_Alone runs pipelines under load that must not be shared.
func TestSharedTransaction_Alone(t *testing.T) {
	t.Parallel()
	with := func(change func(o *postgres.TxOptions)) postgres.TxOptions {
		o := coalesced
		change(&o)
		return o
	}
	insert := batchOf(queueSQL("INSERT INTO c SELECT coalesce(max(n), 0) + 1 FROM c"))
	off := false
	for name, c := range map[string]struct {
		cfg  postgres.Config
		opts postgres.TxOptions
		fn   func(b *postgres.Batch) error
	}{
		"NotRequested": {opts: with(func(o *postgres.TxOptions) { o.Coalesce = false }), fn: insert},
		"Off":          {cfg: postgres.Config{CoalesceTransactions: &off}, opts: coalesced, fn: insert},
		"NoReadBack":   {opts: with(func(o *postgres.TxOptions) { o.ReadBack = nil }), fn: insert},
		"Serializable": {opts: with(func(o *postgres.TxOptions) { o.Isolation = pgx.Serializable }), fn: insert},
		"Class":        {opts: with(func(o *postgres.TxOptions) { o.Class = "bulk" }), fn: insert},
		"ReadOnly":     {opts: with(func(o *postgres.TxOptions) { o.ReadOnly = true }), fn: batchOf(queueSQL("SELECT 1"))},
		"Settings":     {opts: coalesced, fn: batchOf(queueSQL("SELECT set_config('app.tenant', 'a', true)"))},
		"SetLocal":     {opts: coalesced, fn: batchOf(queueSQL("SET LOCAL work_mem = '1MB'"))},
		"Large":        {opts: coalesced, fn: batchOf(queueSQL("SELECT $1::text", strings.Repeat("x", 1<<17)))},
		"Empty":        {opts: coalesced, fn: batchOf()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSharing(t, c.cfg)
			var all sync.WaitGroup
			for range 12 {
				all.Go(func() {
					err := postgres.Pipeline(t.Context(), s.Router, c.opts, c.fn)
					if err != nil && !errors.Is(err, postgres.ErrUnique) && !errors.Is(err, postgres.ErrSerialization) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if shared := gather(t, s.seen)["quern_coalesced_calls{query=commit}"]; shared != 0 {
				t.Errorf("%v transactions were shared", shared)
			}
		})
	}
	s := newSharing(t, postgres.Config{})
	err := postgres.InTx(t.Context(), s.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		return errors.Join(postgres.Pipeline(t.Context(), tx, coalesced, insert), errUndone)
	})
	if rows := s.Count(t, "SELECT count(*) FROM c"); !errors.Is(err, errUndone) || rows != 0 {
		t.Errorf("in a transaction: err = %v and %d rows, want none", err, rows)
	}
}

var errUndone = errors.New("undone")

// TestSharedTransaction_Sessions runs pipelines with sessions and replicas. Each session
// learns the position of the shared COMMIT.
func TestSharedTransaction_Sessions(t *testing.T) {
	t.Parallel()
	url := testdata.NewURL(t)
	s := newSharing(t, postgres.Config{URL: url, ReplicaURLs: []string{url}})
	sessions := make([]*postgres.Session, 6)
	var calls []func() error
	for i := range sessions {
		ctx, session := postgres.WithSession(t.Context())
		sessions[i] = session
		calls = append(calls, func() error { return s.pipe(ctx, queueSQL(insertC, i)) })
	}
	if err := errors.Join(s.meet(t, nil, calls...)...); err != nil {
		t.Fatal(err)
	}
	first := sessions[0].Token()
	for i, session := range sessions {
		if token := session.Token(); token == "" || token != first {
			t.Errorf("session %d has the token %q, and the first one %q", i, token, first)
		}
	}
	if txs := s.transactions(t); txs != 1 {
		t.Errorf("%d transactions, want 1", txs)
	}
}
