package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// raising is a table whose rows fail with a given SQLSTATE, either when they are inserted
// or when the transaction commits. The sequence runs counts all inserts, including those
// that were rolled back.
const raising = `
	CREATE SEQUENCE runs;
	CREATE TABLE raising (at text, code text);
	CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_ARGV[0] = 'statement' THEN
			PERFORM nextval('runs');
		END IF;
		IF NEW.at = TG_ARGV[0] THEN
			RAISE 'raised' USING ERRCODE = NEW.code;
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER at_statement BEFORE INSERT ON raising FOR EACH ROW EXECUTE FUNCTION raise('statement');
	CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON raising DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION raise('commit')`

const raise = "-- name: Raise :exec\nINSERT INTO raising VALUES ($1, $2)"

// TestErrorsInDoubt makes the server answer a write with an ERROR, for the statement and
// for its COMMIT. If another server may have committed its part, the write must be
// ErrCommitUnknown and must not be repeated.
func TestErrorsInDoubt(t *testing.T) {
	t.Parallel()
	seen := prometheus.NewRegistry()
	url := testdata.NewURL(t)
	d := testdata.Open(t, postgres.Config{URL: url, Observers: observers(seen)})
	d.Exec(t, raising)
	// With replicas and a session, COMMIT is a separate message.
	positioned := testdata.Open(t, postgres.Config{URL: url, ReplicaURLs: []string{url}})
	ctx := t.Context()
	session, _ := postgres.WithSession(ctx)
	insert := func(at, code string) step { return stmt(ctx, raise, at, code) }
	ways := map[string]func(at, code string) error{
		"Alone": func(at, code string) error { return insert(at, code)(d.Router) },
		"AloneWithPosition": func(at, code string) error {
			return stmt(session, raise, at, code)(positioned.Router)
		},
		"InTx": func(at, code string) error {
			return postgres.InTx(ctx, d.Router, postgres.TxOptions{}, insert(at, code))
		},
		"InTxWithPosition": func(at, code string) error {
			return postgres.InTx(session, positioned.Router, postgres.TxOptions{}, stmt(session, raise, at, code))
		},
		"QueueWithCommit": func(at, code string) error {
			return postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
				return errors.Join(stmt(ctx, "SELECT 1")(tx), postgres.QueueWithCommit(ctx, tx, batchOf(queueSQL(raise, at, code))))
			})
		},
		"Pipeline": func(at, code string) error {
			return postgres.Pipeline(ctx, d.Router, readsBack(t), batchOf(queueSQL(raise, at, code)))
		},
		"PipelineWithoutMarker": func(at, code string) error {
			return postgres.Pipeline(ctx, d.Router, postgres.TxOptions{NoMarker: true}, batchOf(queueSQL(raise, at, code)))
		},
	}
	alone := func(way string) bool { return way == "Alone" || way == "AloneWithPosition" }
	unknown, unavailable := postgres.ErrCommitUnknown, postgres.ErrUnavailable
	for _, c := range []struct {
		at, code string
		alone    error // of a statement outside a transaction
		inTx     error
	}{
		// The connection to another server. Within a transaction, nothing is committed
		// anywhere before its COMMIT.
		{"statement", "08000", unknown, unavailable},
		{"statement", "08001", unknown, unavailable},
		{"statement", "08003", unknown, unavailable},
		{"statement", "08006", unknown, unavailable},
		{"statement", "08P01", unknown, unavailable},
		{"statement", "57P01", unknown, unavailable},
		{"statement", "57P02", unknown, unavailable},
		{"statement", "57P03", unknown, unavailable},
		{"statement", "40003", unknown, nil},
		// This server.
		{"statement", "57014", postgres.ErrTimeout, postgres.ErrTimeout},
		{"statement", "53100", unavailable, unavailable},
		{"statement", "58030", nil, nil},
		{"statement", "XX000", nil, nil},
		{"statement", "P0001", nil, nil},

		{"commit", "08006", unknown, unknown},
		{"commit", "08P01", unknown, unknown},
		{"commit", "XX000", unknown, unknown},
		{"commit", "57014", unknown, unknown},
		{"commit", "57P01", unknown, unknown},
		{"commit", "53100", unknown, unknown},
		{"commit", "58030", unknown, unknown},
		{"commit", "P0001", unknown, unknown},
		{"commit", "22012", unknown, unknown},
		{"commit", "40003", unknown, unknown},
		// The classes that mean that the transaction itself failed.
		{"commit", "23514", postgres.ErrCheck, postgres.ErrCheck},
		{"commit", "23505", postgres.ErrUnique, postgres.ErrUnique},
		{"commit", "25000", nil, nil},
		{"commit", "40001", postgres.ErrSerialization, postgres.ErrSerialization},
		{"commit", "40P01", postgres.ErrSerialization, postgres.ErrSerialization},
	} {
		for way, write := range ways {
			t.Run(c.at+"/"+c.code+"/"+way, func(t *testing.T) {
				want := c.inTx
				if alone(way) {
					want = c.alone
				}
				// A statement outside a transaction is repeated only if it certainly did
				// nothing. A transaction is also repeated after a serialization failure.
				runs := 1
				if want == unavailable || want == postgres.ErrSerialization && !alone(way) {
					runs = 5
				}
				d.Exec(t, "SELECT setval('runs', 1, false)")
				doubts := gather(t, seen)["quern_lost_commits_total{outcome=unknown}"]
				err := write(c.at, c.code)
				var typed *postgres.Error
				if !errors.As(err, &typed) || typed.Kind != want || typed.Code != c.code {
					t.Errorf("err = %v, want kind %v with the code %s", err, want, c.code)
				}
				if n := d.Count(t, "SELECT last_value FROM runs WHERE is_called"); n != runs {
					t.Errorf("it ran %d times, want %d", n, runs)
				}
				if doubts = gather(t, seen)["quern_lost_commits_total{outcome=unknown}"] - doubts; way != "AloneWithPosition" && way != "InTxWithPosition" {
					if counted := want == unknown; (doubts == 1) != counted {
						t.Errorf("%v are counted as unknown, want %v", doubts, counted)
					}
				}
			})
		}
	}
	if n := d.Count(t, "SELECT count(*) FROM raising"); n != 0 {
		t.Errorf("%d rows are stored", n)
	}
	for name, n := range gather(t, seen) {
		if strings.HasPrefix(name, "quern_connections_destroyed_total") {
			t.Errorf("%s is %v: no connection was broken", name, n)
		}
	}
}

// TestErrorsInDoubt_Shared makes many inserts share statements that fail with an ERROR of
// class 08. No row may be sent twice, and each caller must get the error.
func TestErrorsInDoubt_Shared(t *testing.T) {
	t.Parallel()
	seen := prometheus.NewRegistry()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), Observers: observers(seen)})
	owner := d.CreateAccount(t)
	d.Exec(t, `CREATE SEQUENCE runs;
		CREATE FUNCTION count_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('runs'); RETURN NEW; END $$;
		CREATE TRIGGER count_row BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION count_row();
		CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '08006'; END $$;
		CREATE TRIGGER broken AFTER INSERT ON notes FOR EACH STATEMENT EXECUTE FUNCTION broken()`)
	const callers, times = 40, 10
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for k := range times {
				_, err := d.Queries.CreateNote(context.WithoutCancel(t.Context()), db.CreateNoteParams{
					AccountID: owner.ID, Title: fmt.Sprint(i, " ", k), Tags: []string{},
				})
				if !errors.Is(err, postgres.ErrCommitUnknown) {
					t.Errorf("err = %v, want ErrCommitUnknown", err)
				}
			}
		})
	}
	all.Wait()
	if n := d.Count(t, "SELECT last_value FROM runs"); n != callers*times {
		t.Errorf("%d rows were sent for %d calls", n, callers*times)
	}
	got := gather(t, seen)
	if n := got["quern_lost_commits_total{outcome=unknown}"]; n != callers*times {
		t.Errorf("%v of %d calls are counted as unknown", n, callers*times)
	}
	if got["quern_batch_calls{query=CreateNote}"] == 0 {
		t.Error("no call shared a statement, so the test shows nothing")
	}
}
