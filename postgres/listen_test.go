package postgres_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/postgres"

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

// idleCutter forwards connections to a server, and closes those that were idle for too long,
// as load balancers do.
type idleCutter struct {
	net.Listener
	listening, pings atomic.Int64 // connections that listened, and pings of the newest one
}

func cutIdle(t *testing.T, address string, idle time.Duration) *idleCutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &idleCutter{Listener: l}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", address)
			if err != nil {
				client.Close()
				continue
			}
			all.Go(func() { _, _ = io.Copy(client, server); client.Close() })
			all.Go(func() {
				defer server.Close()
				defer client.Close()
				buffer := make([]byte, 4096)
				for {
					if client.SetReadDeadline(time.Now().Add(idle)) != nil {
						return
					}
					n, err := client.Read(buffer)
					if err != nil {
						return
					}
					switch {
					case bytes.Contains(buffer[:n], []byte("listen ")):
						c.pings.Store(0)
						c.listening.Add(1)
					case bytes.Contains(buffer[:n], []byte("-- ping")):
						c.pings.Add(1)
					}
					if _, err := server.Write(buffer[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return c
}

// TestRouter_Listen_IdleTimeout listens through a load balancer that closes idle connections. The
// first connection is lost, which is one warning. The second is kept from being idle.
func TestRouter_Listen_IdleTimeout(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	u, err := url.Parse(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	cutter := cutIdle(t, u.Host, 1500*time.Millisecond)
	u.Host = cutter.Addr().String()
	log, logger := debugLog()
	router, err := postgres.Connect(t.Context(), postgres.Config{URL: u.String(), MaxConns: 1, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(router.Close)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		router.Listen(ctx, "idle", func(string, bool) {})
	}()
	// With four pings between them, it was silent for longer than the limit in total.
	for deadline := time.Now().Add(30 * time.Second); cutter.listening.Load() < 2 || cutter.pings.Load() < 4; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections listened, the last sent %d pings", cutter.listening.Load(), cutter.pings.Load())
		}
	}
	cancel()
	<-ended
	if n := cutter.listening.Load(); n != 2 {
		t.Errorf("%d connections listened, want 2", n)
	}
	if warnings := event(log, "notifications are lost until the connection is restored", ""); len(warnings) != 1 {
		t.Errorf("warned %d times, want once: %q", len(warnings), warnings)
	}
}
