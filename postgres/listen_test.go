package postgres_test

import (
	"context"
	"testing"
	"time"

	"quern/postgres/testdata"
)

// TestRouter_Listen receives notifications on its channel only, and is notified of each new
// connection.
func TestRouter_Listen(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	type notification struct {
		payload   string
		connected bool
	}
	heard := make(chan notification, 10)
	next := func() notification {
		t.Helper()
		select {
		case n := <-heard:
			return n
		case <-time.After(30 * time.Second):
			t.Fatal("no notification arrived")
			return notification{}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.Router.Listen(ctx, `odd "channel"`, func(payload string, connected bool) { heard <- notification{payload, connected} })
	}()
	if got := next(); !got.connected {
		t.Fatalf("received %+v, want connected first", got)
	}
	for range 2 {
		d.Exec(t, `SELECT pg_notify('other', 'x'), pg_notify('odd "channel"', 'a'), pg_notify('odd "channel"', 'b')`)
		for _, want := range []string{"a", "b"} {
			if got := next(); got.payload != want || got.connected {
				t.Errorf("received %+v, want %s", got, want)
			}
		}
		if n := d.Count(t, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND query LIKE 'listen%'`); n != 1 {
			t.Errorf("%d connections listen, want 1", n)
		}
		if got := next(); !got.connected {
			t.Errorf("received %+v, want connected again", got)
		}
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("it still listens after its context has ended")
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		n := d.Count(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'listen%'")
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections remain", n)
		}
	}
}
