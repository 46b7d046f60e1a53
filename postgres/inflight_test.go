package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"quern/postgres"
	"quern/postgres/testdata"
)

const sleeping = "-- name: Sleep :exec\nSELECT pg_sleep(60)"

// running returns the entry of a statement once it runs on the server.
func running(t *testing.T, d *testdata.DB, statement string) (found postgres.InFlight) {
	t.Helper()
	eventually(t, statement+" runs", func() bool {
		for _, x := range d.Router.InFlight() {
			if x.Statement == statement {
				found = x
			}
		}
		return found.ID != 0 && d.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()") == 1
	})
	return found
}

// A cancelled statement says who cancelled it, and keeps its connection.
func TestCancel(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 2})
	ctx := context.WithValue(t.Context(), callerKey{}, "caller")
	ended := make(chan error, 1)
	go func() {
		_, err := d.Router.Exec(ctx, sleeping)
		ended <- err
	}()
	x := running(t, d, "Sleep")
	if x.Server != "primary" || x.Class != postgres.DefaultClass || x.Transaction || x.PID == 0 || x.Sent.IsZero() || x.Context.Value(callerKey{}) != "caller" {
		t.Errorf("it is listed as %+v", x)
	}
	if !d.Router.Cancel(x.ID) {
		t.Error("Cancel returned false")
	}
	if err := <-ended; !errors.Is(err, postgres.ErrTimeout) || !strings.Contains(err.Error(), "an operator cancelled it") {
		t.Errorf("err = %v, want an ErrTimeout by an operator", err)
	}
	if d.Router.Cancel(x.ID) {
		t.Error("a statement that has ended was cancelled")
	}
	if n := d.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", x.PID); n != 1 {
		t.Error("the connection was lost")
	}
	eventually(t, "nothing is in flight", func() bool { return len(d.Router.InFlight()) == 0 })
}

// A transaction is listed with the line that began it. Between its statements, there is
// nothing to cancel.
func TestInFlight_Transaction(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 2})
	err := postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		if _, err := tx.Exec(t.Context(), "-- name: One :exec\nSELECT 1"); err != nil {
			return err
		}
		list := d.Router.InFlight()
		if len(list) != 1 {
			t.Fatalf("%d connections are in use, want 1", len(list))
		}
		x := list[0]
		if !x.Transaction || !x.Idle || x.Statement != "One" || !strings.HasPrefix(x.Caller, "postgres/inflight_test.go:") {
			t.Errorf("it is listed as %+v", x)
		}
		if d.Router.Cancel(x.ID) {
			t.Error("Cancel returned true between two statements")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if list := d.Router.InFlight(); len(list) != 0 {
		t.Errorf("after the transaction %+v are in flight", list)
	}
}

// A cancelled statement rolls its transaction back, and the transaction is not repeated.
func TestCancel_Transaction(t *testing.T) {
	t.Parallel()
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 3})
	ended, runs := make(chan error, 1), 0
	go func() {
		ended <- postgres.InTx(t.Context(), d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			runs++
			if _, err := tx.Exec(t.Context(), "INSERT INTO accounts (username, email, tags) VALUES ('ada', 'x', '[]')"); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), sleeping)
			return err
		})
	}()
	x := running(t, d, "Sleep")
	if !d.Router.Cancel(x.ID) {
		t.Error("Cancel returned false")
	}
	if err := <-ended; !errors.Is(err, postgres.ErrTimeout) || runs != 1 {
		t.Errorf("err = %v after %d runs, want ErrTimeout after one", err, runs)
	}
	if n := d.Count(t, "SELECT count(*) FROM accounts"); n != 0 {
		t.Errorf("%d rows are stored", n)
	}
}
