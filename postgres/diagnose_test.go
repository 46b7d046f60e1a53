package postgres_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/testdata"
)

// TestTLS covers TLS, client certificates and require_auth. TestTransactionPooler covers
// poolers.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	address := testdata.NewURL(t)
	role := roleName()
	admin(t, address, "CREATE ROLE "+role+" LOGIN PASSWORD 'x' CONNECTION LIMIT 1",
		"CREATE ROLE "+role+"_no PASSWORD 'x'", "CREATE ROLE "+role+"_out LOGIN PASSWORD 'x'", "CREATE ROLE "+role+"_ro LOGIN PASSWORD 'x'",
		"ALTER ROLE "+role+"_ro SET default_transaction_read_only = on",
		"CREATE DATABASE "+role+"_db", "REVOKE CONNECT ON DATABASE "+role+"_db FROM public")
	t.Cleanup(func() {
		admin(t, address, "DROP DATABASE "+role+"_db WITH (FORCE)", "DROP ROLE "+role, "DROP ROLE "+role+"_no", "DROP ROLE "+role+"_out", "DROP ROLE "+role+"_ro")
	})
	only, err := pgx.Connect(t.Context(), as(t, address, role, "x"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { only.Close(context.Background()) })
	at := func(host string) string { return changed(t, address, func(u *url.URL) { u.Host = host }) }

	for _, tt := range []struct {
		name      string
		address   string
		what      string
		hint      string
		transient bool
	}{
		{"dns", at("no-such-host.invalid:5432"), "DNS", "host", true},
		{"refused", at(freeAddress(t)), "refused", "listens", true},
		{"no socket", as(t, address, "", "", "host", filepath.Join(t.TempDir(), "nothing")), "refused", "listens", true},
		{"no answer", at(listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })), "no answer in time", "firewall", true},
		{"hangs up", at(listener(t, func(net.Conn) {})), "closed the connection", "PostgreSQL", true},
		{"not PostgreSQL", as(t, at(listener(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400\r\n\r\n")) })), "", "", "sslmode", "require"), "TLS", "sslmode", false},
		{"no TLS", as(t, address, "", "", "sslmode", "require"), "TLS: the server does not support it", "ssl=on", false},
		{"password", as(t, address, role, "wrong"), "password is wrong", "PGPASSWORD", false},
		{"role", as(t, address, role+"_no", "x"), "may not connect", "LOGIN", false},
		{"database", changed(t, address, func(u *url.URL) { u.Path = "/nowhere" }), "database does not exist", "create it", false},
		{"privilege", changed(t, as(t, address, role+"_out", "x"), func(u *url.URL) { u.Path = "/" + role + "_db" }), "permission denied", "GRANT", false},
		{"too many", as(t, address, role, "x"), "too many clients", "max_connections", true},
		{"read-only", as(t, address, role+"_ro", "x", "target_session_attrs", "read-write"), "is read-only", "target_session_attrs", true},
		{"parameter", as(t, address, "", "", "no_such_setting", "1"), "rejects a setting", "remove", false},
		{"malformed", "postgres://u@h:port/d", "is invalid", "write it as", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			limit := patience // because the server answers, and may take all of patience
			if tt.name == "no answer" {
				limit = 300 * time.Millisecond
			}
			_, err := postgres.Connect(t.Context(), postgres.Config{
				URL: tt.address, MaxConns: 1, ConnectRetries: -1, ConnectTimeout: limit, Logger: quiet,
			})
			d := postgres.Diagnose(err)
			if !strings.Contains(d.What, tt.what) || !strings.Contains(d.Hint, tt.hint) || d.Transient != tt.transient {
				t.Errorf("%+v, want %q, %q, %v; of %v", d, tt.what, tt.hint, tt.transient, err)
			}
			if err == nil || !strings.HasSuffix(err.Error(), d.Hint) || strings.Contains(err.Error(), "\n") {
				t.Errorf("err = %v, want one line that ends with the hint", err)
			}
			if took := time.Since(start); took > patience/2 {
				t.Errorf("it took %v", took)
			}
		})
	}

	t.Run("OfAStatement", func(t *testing.T) {
		t.Parallel()
		r := open(t, postgres.Config{URL: as(t, address, role+"_ro", "x"), QueryTimeout: 2 * time.Second})
		for sql, what := range map[string]string{
			"DELETE FROM accounts WHERE false":                              "is read-only",
			"SET default_transaction_read_only = off; SELECT FROM accounts": "permission denied",
			"SELECT pg_sleep(10)":                                           "timed out",
			"EXECUTE nothing":                                               "pooler",
			"SELECT 1/0":                                                    "rejected",
		} {
			_, err := r.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
			if d := postgres.Diagnose(err); !strings.Contains(d.What, what) {
				t.Errorf("%s: %+v, want %q; of %v", sql, d, what, err)
			}
		}
	})

	// A server that does not confirm in time that a statement was cancelled.
	t.Run("OfAHungStatement", func(t *testing.T) {
		t.Parallel()
		r := open(t, postgres.Config{URL: address, MaxConns: 1, QueryTimeout: 300 * time.Millisecond, AcquireTimeout: time.Minute})
		pid := hold(t, r, 1)[0]
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Skip(err) // not a server of this test
		}
		defer syscall.Kill(pid, syscall.SIGCONT)
		_, err := r.Exec(t.Context(), "SELECT pg_sleep(10)")
		if d := postgres.Diagnose(err); !strings.Contains(d.What, "timed out") {
			t.Errorf("%+v of %v", d, err)
		}
	})

	// Of several hosts, the diagnosis is about the attempt that got furthest.
	t.Run("SeveralHosts", func(t *testing.T) {
		t.Parallel()
		u, _ := url.Parse(address)
		_, err := postgres.Connect(t.Context(), postgres.Config{
			URL: at(freeAddress(t)+","+u.Host) + "&sslmode=require", ConnectRetries: 1, Logger: quiet,
		})
		if d := postgres.Diagnose(err); !strings.Contains(d.What, "does not support it") || !d.Transient {
			t.Errorf("%+v, want the missing TLS of one host, and Transient because of the other", d)
		}
		if s := err.Error(); !strings.Contains(s, "refused TLS") || !strings.Contains(s, "connection refused") || strings.Contains(s, "\n") {
			t.Errorf("err = %q, want both causes on one line", s)
		}
	})
}

// Connect waits for a server that is starting or shutting down, and for a free connection
// slot.
func TestConnectWaits(t *testing.T) {
	t.Parallel()
	t.Run("ForTheServer", func(t *testing.T) {
		t.Parallel()
		server := ownServer(t, nil)
		holder, err := pgx.Connect(t.Context(), server.URL())
		if err != nil {
			t.Fatal(err)
		}
		// A smart shutdown waits for the client that is connected, and accepts no other.
		if err := syscall.Kill(server.PID(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_, err = postgres.Connect(t.Context(), postgres.Config{URL: server.URL(), ConnectRetries: -1, Logger: quiet})
		if d := postgres.Diagnose(err); !d.Transient || !strings.Contains(d.What, "starting, stopping") {
			t.Errorf("%+v, want not ready; of %v", d, err)
		}
		connected := make(chan error, 1)
		go func() {
			r, err := postgres.Connect(t.Context(), postgres.Config{URL: server.URL(), ConnectRetries: 100, Logger: quiet})
			if err == nil {
				r.Close()
			}
			connected <- err
		}()
		holder.Close(t.Context())
		<-server.Done()
		startServer(t, server.Dir(), nil)
		if err := <-connected; err != nil {
			t.Errorf("it did not wait: %v", err)
		}
	})
	t.Run("ForAPlace", func(t *testing.T) {
		t.Parallel()
		address, role := pgtest.EmptyURL(t), roleName()
		admin(t, address, "CREATE ROLE "+role+" LOGIN PASSWORD 'x' CONNECTION LIMIT 1")
		t.Cleanup(func() { admin(t, address, "DROP ROLE "+role) })
		holder, err := pgx.Connect(t.Context(), as(t, address, role, "x"))
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(100*time.Millisecond, func() { holder.Close(t.Context()) })
		open(t, postgres.Config{URL: as(t, address, role, "x"), MaxConns: 1, ConnectRetries: 100})
	})
	t.Run("NoLongerThanItMay", func(t *testing.T) {
		t.Parallel()
		silent := listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		another := "," + listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		for _, hosts := range []string{"", another + "," + silent + another + "," + freeAddress(t)} {
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := postgres.Connect(ctx, postgres.Config{
				URL: "postgres://u:x@" + silent + hosts + "/d?sslmode=disable", ConnectTimeout: 400 * time.Millisecond, ConnectRetries: -1, Logger: quiet,
			})
			if took := time.Since(start); err == nil || took > 8*time.Second {
				t.Errorf("%v after %v", err, took)
			}
			if hosts != "" && !strings.Contains(err.Error(), "refused") {
				t.Errorf("err = %v: the last host was not tried", err)
			}
		}
	})
	t.Run("OncePerAttempt", func(t *testing.T) {
		t.Parallel()
		n := newCounts()
		_, err := postgres.Connect(t.Context(), postgres.Config{
			URL: as(t, pgtest.EmptyURL(t), "nobody", "x"), MaxConns: 20, Logger: quiet, Observers: observers(n),
		})
		if err == nil || n.of("failed") != 1 {
			t.Errorf("it connected with a wrong password %d times (%v), want once", n.of("failed"), err)
		}
		if errors.Is(err, postgres.ErrTimeout) {
			t.Error(err)
		}
	})
}

// freeAddress returns an address that was free a moment ago, so nothing listens on it.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listener listens but is not PostgreSQL. It serves connections one at a time.
func listener(t *testing.T, serve func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}
