package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/internal/db"
	"quern/internal/store"
	"quern/internal/storetest"
	"quern/postgres"
)

// turnTest is an import whose chunks have two rows each.
type turnTest struct {
	*storetest.DB
	t *testing.T

	mu    sync.Mutex
	lines []int64 // of the rejected rows, in the order of the reports
	res   store.ImportResult
	err   error
	ended chan struct{}
}

func newTurnTest(t *testing.T) *turnTest {
	return &turnTest{DB: storetest.Open(t, postgres.Config{URL: storetest.NewURL(t), MaxConns: 8}), t: t, ended: make(chan struct{})}
}

// start imports users in the background.
func (tt *turnTest) start(ctx context.Context, r io.Reader, o store.ImportOptions) {
	if o.Rejected == nil {
		o.Rejected = func(r store.Reject) error {
			tt.mu.Lock()
			defer tt.mu.Unlock()
			tt.lines = append(tt.lines, r.Line)
			return nil
		}
	}
	go func() {
		defer close(tt.ended)
		tt.res, tt.err = tt.Store.ImportUsers(ctx, r, o.WithChunk(2))
	}()
}

// blocked begins a transaction that has a user, so that a chunk with this user waits for it.
func (tt *turnTest) blocked(sql string, args ...any) pgx.Tx {
	tt.t.Helper()
	conn, err := pgx.Connect(tt.t.Context(), tt.Router.Config().URL)
	if err != nil {
		tt.t.Fatal(err)
	}
	tt.t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(tt.t.Context())) })
	tx, err := conn.Begin(tt.t.Context())
	if err != nil {
		tt.t.Fatal(err)
	}
	if _, err := tx.Exec(tt.t.Context(), sql, args...); err != nil {
		tt.t.Fatal(err)
	}
	return tx
}

// waiting waits until a statement whose text contains each of the given words waits for a lock.
func (tt *turnTest) waiting(words ...string) {
	tt.t.Helper()
	eventually(tt.t, "waits for a lock: "+strings.Join(words, ", "), func() bool {
		for _, word := range words {
			if tt.Count(tt.t, `SELECT count(*) FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ILIKE '%' || $1 || '%'`, word) == 0 {
				return false
			}
		}
		return true
	})
}

const insertUser = "INSERT INTO users (username, email) VALUES ($1, 'theirs')"

// fourRows are two chunks. The last row of each is rejected.
const fourRows = "username,email\nann,a\nx,\nbob,b\ny,\n"

// TestImport_Turns stores two chunks at a time, the first of which is blocked. The second one
// must get as far as its COMMIT, and wait there.
func TestImport_Turns(t *testing.T) {
	t.Parallel()
	tt := newTurnTest(t)
	tx := tt.blocked(insertUser, "ann")
	tt.start(t.Context(), strings.NewReader(fourRows), store.ImportOptions{OnConflict: store.ConflictSkip})
	tt.waiting("copy", "CreateImportCheckpoint")
	if n := tt.Count(t, "SELECT count(*) FROM users"); n != 0 {
		t.Errorf("%d users are stored while the first chunk is not", n)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-tt.ended
	if diff := cmp.Diff(store.ImportResult{Rows: 4, Inserted: 1, Skipped: 1, Rejected: 2, Line: 5}, tt.res); diff != "" || tt.err != nil {
		t.Error(tt.err, diff)
	}
	if !slices.Equal(tt.lines, []int64{3, 5}) {
		t.Errorf("rejects are reported in the order %v", tt.lines)
	}
	if n := tt.Count(t, "SELECT count(*) FROM import_checkpoints"); n != 2 {
		t.Errorf("%d checkpoints, want 2", n)
	}
}

// TestImport_TurnsInterrupted ends an import whose second chunk is complete except for its
// COMMIT. Nothing of it may be stored, because its first chunk is not.
func TestImport_TurnsInterrupted(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(tt *turnTest, cancel func()){
		"Cancelled": func(_ *turnTest, cancel func()) { cancel() },
		"Killed": func(tt *turnTest, _ func()) {
			tt.Exec(tt.t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ILIKE '%copy%'`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt := newTurnTest(t)
			tx := tt.blocked(insertUser, "ann")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tt.start(ctx, strings.NewReader(fourRows), store.ImportOptions{OnConflict: store.ConflictUpdate})
			tt.waiting("copy", "CreateImportCheckpoint")
			end(tt, cancel)
			if name == "Cancelled" {
				<-tt.ended
				if !errors.Is(tt.err, context.Canceled) || tt.res.Rows != 0 || len(tt.lines) != 0 {
					t.Errorf("%+v, %v, %v", tt.res, tt.lines, tt.err)
				}
			} else {
				tt.waiting("copy")
			}
			if n := tt.Count(t, "SELECT count(*) FROM users") + tt.Count(t, "SELECT count(*) FROM import_checkpoints"); n != 0 {
				t.Errorf("%d users and checkpoints are stored", n)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if name == "Cancelled" {
				tt.ended = make(chan struct{})
				tt.start(t.Context(), strings.NewReader(fourRows), store.ImportOptions{OnConflict: store.ConflictUpdate})
			}
			<-tt.ended
			if tt.err != nil || tt.res.Inserted != 1 || tt.res.Updated != 1 || tt.res.Rejected != 2 || !slices.Equal(tt.lines, []int64{3, 5}) {
				t.Errorf("%+v, %v, %v", tt.res, tt.lines, tt.err)
			}
		})
	}
}

// TestImport_TurnsDeadlock lets another transaction wait for a chunk that waits for the chunk
// before it, which waits for that transaction. PostgreSQL must find this deadlock. If the chunk
// waited in the process, all three would wait until a timeout of a minute.
func TestImport_TurnsDeadlock(t *testing.T) {
	t.Parallel()
	tt := newTurnTest(t)
	tt.Exec(t, "INSERT INTO users (username, email) VALUES ('ann', 'old'), ('bob', 'old')")
	tx := tt.blocked("UPDATE users SET age = 1 WHERE username = 'ann'")
	tt.start(t.Context(), strings.NewReader("username,email\nann,a\nx,x\nbob,b\ny,y\n"), store.ImportOptions{OnConflict: store.ConflictUpdate})
	tt.waiting("copy", "CreateImportCheckpoint")
	soon, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := tx.Exec(soon, "UPDATE users SET age = 2 WHERE username = 'bob'"); err == nil {
		err = tx.Commit(t.Context())
		if err != nil {
			t.Error(err)
		}
	} else if soon.Err() != nil {
		t.Error("no deadlock was found")
	} else {
		_ = tx.Rollback(t.Context())
	}
	<-tt.ended
	if tt.err != nil || tt.res.Updated != 2 || tt.res.Inserted != 2 {
		t.Errorf("%+v, %v", tt.res, tt.err)
	}
}

// TestImport_TurnsApart imports chunks that must not overlap, because the first one would wait for
// the second one, which waits for its turn. The first one is blocked, so the second one could begin.
func TestImport_TurnsApart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		input string
		mode  store.OnConflict
		want  store.ImportResult
		check string
	}{
		"SameUsername": {
			"username,email\nann,a\nbob,b\nbob,new\ncy,c\n", store.ConflictUpdate,
			store.ImportResult{Rows: 4, Inserted: 2, Updated: 2, Line: 5},
			"username = 'bob' AND email = 'new'",
		},
		"SameID": {
			"id,username,email\n,ann,a\n7,bob,b\n7,cy,c\n8,dee,d\n", store.ConflictSkip,
			store.ImportResult{Rows: 4, Inserted: 2, Skipped: 1, Rejected: 1, Line: 5},
			"username = 'bob' AND id = 7",
		},
		// The first chunk draws the id that the second one gives.
		"DrawnID": {
			"id,username,email\n,ann,a\n,bob,b\n3,cy,c\n4,dee,d\n", store.ConflictSkip,
			store.ImportResult{Rows: 4, Inserted: 2, Skipped: 1, Rejected: 1, Line: 5},
			"username = 'bob' AND id = 3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt := newTurnTest(t)
			tx := tt.blocked(insertUser, "ann") // with id 1
			tt.start(t.Context(), strings.NewReader(c.input), store.ImportOptions{OnConflict: c.mode})
			tt.waiting("copy")
			// Without a bound, an absence cannot be tested. The other tests wait for less than this.
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				if tt.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 1 {
					t.Fatal("the second chunk waits, too")
				}
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-tt.ended
			if diff := cmp.Diff(c.want, tt.res); diff != "" || tt.err != nil {
				t.Error(tt.err, diff)
			}
			if n := tt.Count(t, "SELECT count(*) FROM users WHERE "+c.check); n != 1 {
				t.Errorf("the users are not %s", c.check)
			}
		})
	}
}

// TestImport_TurnsRepeated repeats the transaction of the first chunk after the second chunk has
// drawn its ids. The ids must be in the order of the input nevertheless.
func TestImport_TurnsRepeated(t *testing.T) {
	t.Parallel()
	tt := newTurnTest(t)
	author := tt.CreateUser(t).ID
	tt.Exec(t, `CREATE SEQUENCE once; CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.title = 'post 0' AND nextval('once') = 1 THEN
		FOR i IN 1..3000 LOOP
			EXIT WHEN (SELECT last_value FROM posts_id_seq) >= 4;
			PERFORM pg_sleep(0.01);
		END LOOP;
		RAISE SQLSTATE '40001';
	END IF; RETURN NEW; END $$;
	CREATE TRIGGER once BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION once()`)
	text := "user_id,title,content\n"
	for n := range 4 {
		text += fmt.Sprintf("%d,post %d,x\n", author, n)
	}
	if res, err := tt.Store.ImportPosts(t.Context(), strings.NewReader(text), store.ImportOptions{}.WithChunk(2)); err != nil || res.Inserted != 4 {
		t.Fatalf("%+v, %v", res, err)
	}
	if n := tt.Count(t, "SELECT last_value FROM posts_id_seq"); n < 8 {
		t.Fatalf("%d ids were drawn, want those of both chunks twice", n)
	}
	rows, err := tt.Router.Pool().Query(t.Context(), "SELECT title FROM posts ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	titles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if diff := cmp.Diff([]string{"post 0", "post 1", "post 2", "post 3"}, titles); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

// TestImport_TurnsReport blocks the report of a reject. The next chunk must not keep its
// transaction open meanwhile, and is not stored if the report fails.
func TestImport_TurnsReport(t *testing.T) {
	t.Parallel()
	tt := newTurnTest(t)
	full, reported := errors.New("disk full"), make(chan struct{})
	tx := tt.blocked(insertUser, "ann")
	tt.start(t.Context(), strings.NewReader(fourRows), store.ImportOptions{
		OnConflict: store.ConflictSkip,
		Rejected: func(store.Reject) error {
			eventually(t, "no transaction is open", func() bool {
				return tt.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()") == 0
			})
			close(reported)
			return full
		},
	})
	tt.waiting("copy", "CreateImportCheckpoint")
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-reported
	<-tt.ended
	if !errors.Is(tt.err, full) {
		t.Errorf("err = %v", tt.err)
	}
	if n := tt.Count(t, "SELECT count(*) FROM users WHERE username = 'bob'"); n != 0 {
		t.Error("the chunk after the failed report is stored")
	}
}

// TestImport_TurnsUnreadable imports a file that ends in an error after whole chunks. All of
// these are stored and counted.
func TestImport_TurnsUnreadable(t *testing.T) {
	t.Parallel()
	tt := newTurnTest(t)
	tt.start(t.Context(), io.MultiReader(strings.NewReader(fourRows+"cy,c\n"), iotest.ErrReader(io.ErrUnexpectedEOF)), store.ImportOptions{})
	<-tt.ended
	if !errors.Is(tt.err, store.ErrInput) || tt.res.Rows != 4 || tt.res.Inserted != 2 {
		t.Errorf("%+v, %v", tt.res, tt.err)
	}
}

// TestImport_TurnsWithin imports many chunks in a transaction of the caller, which has one
// connection.
func TestImport_TurnsWithin(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	err := d.Queries.InTx(t.Context(), func(q *db.Queries) error {
		res, err := store.New(q).ImportUsers(t.Context(), strings.NewReader(manyUsers(40)), store.ImportOptions{}.WithChunk(2))
		if err == nil && res.Inserted != 40 {
			err = fmt.Errorf("%+v", res)
		}
		return err
	})
	if n := d.Count(t, "SELECT count(*) FROM users"); n != 40 || err != nil {
		t.Error(n, err)
	}
}

func manyUsers(n int) string {
	var b strings.Builder
	b.WriteString("username,email\n")
	for i := range n {
		fmt.Fprintf(&b, "user%d,x\n", i)
	}
	return b.String()
}

// TestImport_Share runs imports at once whose class has few connections. All must end, and none
// may take more than the share or be refused.
func TestImport_Share(t *testing.T) {
	t.Parallel()
	for _, share := range []string{"1", "2"} {
		t.Run(share, func(t *testing.T) {
			t.Parallel()
			d := storetest.Open(t, postgres.Config{
				URL: storetest.NewURL(t), MaxConns: 3, PoolClasses: map[string]string{"bulk": share}, AcquireTimeout: time.Minute,
			})
			text := manyUsers(100)
			var all sync.WaitGroup
			for i := range 4 {
				all.Go(func() {
					res, err := d.Store.ImportUsers(t.Context(), strings.NewReader(text),
						store.ImportOptions{OnConflict: store.ConflictSkip, Key: fmt.Sprint(i)}.WithChunk(5))
					if err != nil || res.Inserted+res.Skipped != 100 {
						t.Errorf("%+v, %v", res, err)
					}
				})
			}
			all.Wait()
			for _, c := range d.Router.Snapshot().Servers[0].Classes {
				if c.Used != 0 && c.Name == "bulk" || c.Refused != 0 {
					t.Errorf("%+v", c)
				}
			}
			if n := d.Count(t, "SELECT count(*) FROM users"); n != 100 {
				t.Errorf("%d users", n)
			}
		})
	}
}
