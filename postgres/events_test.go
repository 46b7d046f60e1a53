package postgres_test

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"quern/pgtest"
	"quern/postgres"
)

// event returns the lines of a debug log that have the message and the text.
func event(log *syncBuffer, message, text string) (found []string) {
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `msg="`+message+`"`) && strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func debugLog() (*syncBuffer, *slog.Logger) {
	log := &syncBuffer{}
	return log, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestConnectionEvents(t *testing.T) {
	t.Parallel()

	t.Run("Life", func(t *testing.T) {
		t.Parallel()
		log, logger := debugLog()
		r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 1, Logger: logger})
		for range 2 {
			if _, err := r.Exec(t.Context(), "-- name: Hello :exec\nSELECT 1"); err != nil {
				t.Fatal(err)
			}
		}
		err := postgres.InTx(t.Context(), r, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			_, err := tx.Exec(t.Context(), "SELECT 1")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		for _, want := range []struct {
			message, line string
			times         int
		}{
			{"connection opened", `server=primary took=\S+ pid=\d+`, 1},
			{"connection acquired", `server=primary pid=\d+ statement=Hello class=default waited=\S+`, 2},
			{"connection released", `server=primary pid=\d+ statement=Hello held=\S+`, 2},
			{"connection acquired", `statement=begin`, 1},
			{"connection released", `statement=begin`, 1},
			{"connection closed", `server=primary pid=\d+ reason=pool_closed age=\S+`, 1},
		} {
			if got := regexp.MustCompile(`msg="`+want.message+`" `+`.*`+want.line).FindAllString(log.String(), -1); len(got) != want.times {
				t.Errorf("%q %s: %d times, want %d, in:\n%s", want.message, want.line, len(got), want.times, log.String())
			}
		}
	})

	t.Run("NotAtInfo", func(t *testing.T) {
		t.Parallel()
		log := &syncBuffer{}
		r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 1, Logger: slog.New(slog.NewTextHandler(log, nil))})
		if _, err := r.Exec(t.Context(), "SELECT 1"); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if strings.Contains(log.String(), "connection ") {
			t.Errorf("events at level info:\n%s", log.String())
		}
	})

	t.Run("Failed", func(t *testing.T) {
		t.Parallel()
		log, logger := debugLog()
		n := newCounts()
		_, err := postgres.Connect(t.Context(), postgres.Config{
			URL: "postgres://u:hunter2@" + freeAddress(t) + "/x", ConnectRetries: 2, Logger: logger, Observers: observers(n),
		})
		if err == nil {
			t.Fatal("connected without a server")
		}
		if got := event(log, "connection failed", "refused"); len(got) != 3 || strings.Contains(log.String(), "hunter2") {
			t.Errorf("%d failures, want 3, and no password, in:\n%s", len(got), log.String())
		}
		if failed, ok := n.of("failed"), n.of("ok"); failed != 3 || ok != 0 {
			t.Errorf("%d failed and %d good attempts are counted, want 3 and 0", failed, ok)
		}
	})

	t.Run("Counted", func(t *testing.T) {
		t.Parallel()
		n := newCounts()
		r := open(t, postgres.Config{URL: pgtest.EmptyURL(t), MaxConns: 3, MinConns: 1, Observers: observers(n)})
		hold(t, r, 3)
		if failed, ok := n.of("failed"), n.of("ok"); failed != 0 || ok != 3 {
			t.Errorf("%d failed and %d good attempts are counted, want 0 and 3", failed, ok)
		}
	})
}

// A closed connection is logged with its reason.
func TestConnectionEvents_Reasons(t *testing.T) {
	t.Parallel()
	for reason, tt := range map[string]struct {
		cfg   postgres.Config
		cause func(t *testing.T, r *postgres.Router, address string)
	}{
		"age": {postgres.Config{MaxConnLifetime: 30 * time.Millisecond}, nil},
		// pgxpool checks for idle connections at most once a second.
		"idle": {postgres.Config{MaxConnIdle: 10 * time.Millisecond, MinConns: 1}, func(t *testing.T, r *postgres.Router, _ string) {
			if r.Pool().Stat().TotalConns() < 2 {
				hold(t, r, 2)
			}
		}},
		"dead": {postgres.Config{}, func(t *testing.T, r *postgres.Router, address string) {
			for _, pid := range hold(t, r, 1) {
				admin(t, address, fmt.Sprintf("SELECT pg_terminate_backend(%d, 5000)", pid))
			}
		}},
		// Three connections to a server that is shutting down are enough.
		"reset": {postgres.Config{MaxConns: 4}, func(t *testing.T, r *postgres.Router, _ string) {
			hold(t, r, 4)
			for range 3 {
				_, _ = r.Pool().Exec(t.Context(), "SELECT pg_terminate_backend(pg_backend_pid())")
			}
		}},
		"in_transaction": {postgres.Config{}, func(t *testing.T, r *postgres.Router, _ string) {
			conn, err := r.Pool().Acquire(t.Context())
			if err == nil {
				_, err = conn.Exec(t.Context(), "BEGIN")
				conn.Release()
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			log, logger := debugLog()
			n := newCounts()
			tt.cfg.URL, tt.cfg.Logger, tt.cfg.Observers = pgtest.EmptyURL(t), logger, observers(n)
			r := open(t, tt.cfg)
			eventually(t, "a connection is closed for "+reason, func() bool {
				if tt.cause != nil {
					tt.cause(t, r, tt.cfg.URL)
				}
				_, err := r.Exec(t.Context(), "CREATE TEMP TABLE IF NOT EXISTS t ()")
				if err != nil && !errors.Is(err, postgres.ErrUnavailable) {
					t.Fatal(err)
				}
				return len(event(log, "connection closed", "reason="+reason+" ")) > 0
			})
			if early := reason == "dead" || reason == "in_transaction"; early != (n.of(reason) > 0) {
				t.Errorf("%d connections count as destroyed for %s", n.of(reason), reason)
			}
		})
	}
}
