package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// recorder is an Observer that records everything it receives.
type recorder struct {
	mu      sync.Mutex
	ends    []postgres.StatementEnd
	callers []any // values of callerKey in the contexts of StatementEnded
	events  []postgres.Event
}

type callerKey struct{}

func (r *recorder) StatementEnded(ctx context.Context, end postgres.StatementEnd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends, r.callers = append(r.ends, end), append(r.callers, ctx.Value(callerKey{}))
}

func (r *recorder) Happened(event postgres.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
}

// received returns the statements with their errors, and the events with their types and
// subjects.
func (r *recorder) received() (statements, events []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, end := range r.ends {
		statements = append(statements, strings.TrimSpace(fmt.Sprintf("%s %d %s", end.Statement.Name, end.Rows, postgres.ErrorClass(end.Err))))
	}
	for _, event := range r.events {
		line := reflect.TypeOf(event).Name()
		switch e := event.(type) {
		case postgres.ConnectEnded:
			line += fmt.Sprintf(" %s %v %v", e.Server, e.PID > 0, e.Err)
		case postgres.ConnectionClosed:
			line += fmt.Sprintf(" %s %s %v %v", e.Server, e.Reason, e.Early, e.PID > 0)
		case postgres.Repeated:
			line += fmt.Sprintf(" %s %s", e.Statement, e.Reason)
		case postgres.ServerWarned:
			line += fmt.Sprintf(" %s %s %s", e.Server, e.Code, e.Message)
		}
		events = append(events, line)
	}
	return statements, events
}

// TestObserver follows a Router from its first connection to its last. If there are several
// Observers, each receives everything.
func TestObserver(t *testing.T) {
	t.Parallel()
	one, two := &recorder{}, &recorder{}
	d := testdata.Open(t, postgres.Config{URL: testdata.NewURL(t), MaxConns: 1, Observers: []postgres.Observer{one, two}})
	ctx := context.WithValue(t.Context(), callerKey{}, "caller")
	before := time.Now()
	_, err := d.Queries.CreateAccount(ctx, db.CreateAccountParams{Username: "ada", Email: "x", Tags: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = d.Queries.CreateAccount(ctx, db.CreateAccountParams{Username: "ada", Email: "x", Tags: []string{}}); !errors.Is(err, postgres.ErrUnique) {
		t.Errorf("err = %v, want ErrUnique", err)
	}
	failed := false
	err = postgres.InTx(ctx, d.Router, postgres.TxOptions{NoMarker: true}, func(tx postgres.DBTX) error {
		if failed {
			return nil
		}
		failed = true
		_, err := tx.Exec(ctx, "-- name: Broken :exec\nDO $$ BEGIN RAISE NOTICE 'not this'; RAISE WARNING 'careful'; RAISE SQLSTATE '40P01'; END $$")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Router.Close()

	statements, events := one.received()
	if diff := cmp.Diff([]string{"CreateAccount 1", "CreateAccount 0 unique", "Broken 0 serialization"}, statements); diff != "" {
		t.Errorf("statements (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"ConnectEnded primary true <nil>", "RouterStarted", "ServerWarned primary 01000 careful", "Repeated transaction deadlock", "ConnectionClosed primary pool_closed false true",
	}, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for i, end := range one.ends {
		if end.Start.Before(before) || end.Duration <= 0 || end.Replica != "" || end.Fallback != "" || one.callers[i] != "caller" {
			t.Errorf("%s began at %v, took %v, on replica %q, fallback %q, for %v", end.Statement.Name,
				end.Start, end.Duration, end.Replica, end.Fallback, one.callers[i])
		}
	}
	if s, e := two.received(); !slices.Equal(s, statements) || !slices.Equal(e, events) {
		t.Errorf("the second Observer received %v, %v; the first %v, %v", s, e, statements, events)
	}
}

// The Observer of a Connect that fails receives each attempt, without the password.
func TestObserver_ConnectFails(t *testing.T) {
	t.Parallel()
	seen := &recorder{}
	_, err := postgres.Connect(t.Context(), postgres.Config{
		URL: "postgres://u:hunter2@" + freeAddress(t) + "/x", ConnectRetries: 1, Logger: quiet, Observers: []postgres.Observer{seen},
	})
	if err == nil {
		t.Fatal("connected without a server")
	}
	if len(seen.events) != 2 {
		t.Fatalf("%d events, want the 2 attempts: %v", len(seen.events), seen.events)
	}
	for _, event := range seen.events {
		e, ok := event.(postgres.ConnectEnded)
		if !ok || e.Err == nil || e.PID != 0 || e.Duration <= 0 {
			t.Errorf("%+v, want a failed attempt", event)
		}
		// A ConnectError contains the configuration, and so the password.
		if c := (*pgconn.ConnectError)(nil); errors.As(e.Err, &c) || strings.Contains(fmt.Sprintf("%+v", event), "hunter2") {
			t.Errorf("the event contains the password: %#v", e.Err)
		}
	}
}

// A Snapshot contains all pools and hosts.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	url := testdata.NewURL(t)
	d := testdata.Open(t, postgres.Config{
		URL: url, ReplicaURLs: []string{url}, MaxConns: 3, PoolClasses: map[string]string{"bulk": "1"},
	})
	s := d.Router.Snapshot()
	if len(s.Servers) != 2 || s.Hosts != nil || s.CommitsWaiting != 0 {
		t.Fatalf("%+v, want two servers and no hosts", s)
	}
	primary, replica := s.Servers[0], s.Servers[1]
	if primary.Name != "primary" || primary.Replica || !primary.Up || !replica.Replica || !strings.Contains(replica.Name, ":") {
		t.Errorf("servers %+v", s.Servers)
	}
	bulk := slices.IndexFunc(primary.Classes, func(c postgres.ClassState) bool { return c.Name == "bulk" })
	if primary.Pool.MaxConns() != 3 || primary.Classes[0].Name != postgres.DefaultClass || primary.Classes[0].Limit != 3 || bulk < 1 || primary.Classes[bulk].Limit != 1 {
		t.Errorf("the primary's pool: %+v", primary)
	}
	eventually(t, "the replica is used", func() bool { return d.Router.Snapshot().Servers[1].Up })
	if s := d.Router.Snapshot().Servers; !s[0].Primary || !s[1].Primary {
		t.Errorf("servers %+v, want that both are the primary, because they are one server", s)
	}
}
