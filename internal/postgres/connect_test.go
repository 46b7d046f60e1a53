package postgres_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"quern/internal/postgres"
	"quern/internal/storetest"
)

var quiet = slog.New(slog.DiscardHandler)

func TestConnect(t *testing.T) {
	t.Parallel()
	good, err := url.Parse(storetest.NewURL(t))
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(u *url.URL)) string {
		u := *good
		f(&u)
		return u.String()
	}
	// A port that nobody listens on: it was free a moment ago.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()

	t.Run("KeywordForm", func(t *testing.T) {
		t.Parallel()
		password, _ := good.User.Password()
		r, err := postgres.Connect(t.Context(), postgres.Config{Logger: quiet, URL: fmt.Sprintf(
			"host=%s port=%s user=%s password='%s' dbname=%s",
			good.Hostname(), good.Port(), good.User.Username(), password, strings.TrimPrefix(good.Path, "/"))})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	})

	t.Run("FinalAtOnce", func(t *testing.T) {
		t.Parallel()
		for name, address := range map[string]string{
			"password": change(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "hunter2") }),
			"database": change(func(u *url.URL) { u.Path = "/nowhere" }),
			"string":   "postgres://user:hunter2@host:port/x",
			"keywords": "host=x password=hunter2 port",
			"tls":      change(func(u *url.URL) { u.RawQuery = "sslmode=nonsense&password=hunter2" }),
		} {
			var log bytes.Buffer
			start := time.Now()
			_, err := postgres.Connect(t.Context(), postgres.Config{
				URL: address, ConnectRetries: 50, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			switch {
			case err == nil:
				t.Errorf("%s: no error", name)
			case strings.Contains(err.Error(), "hunter2") || strings.Contains(log.String(), "hunter2"):
				t.Errorf("%s: the password is in %q or the log %q", name, err, log.String())
			case log.Len() > 0 || time.Since(start) > 30*time.Second:
				t.Errorf("%s: it was tried again: %s", name, log.String())
			}
		}
	})

	t.Run("TriedAgainThenGivenUp", func(t *testing.T) {
		t.Parallel()
		var log bytes.Buffer
		_, err := postgres.Connect(t.Context(), postgres.Config{
			URL: "postgres://u:hunter2@" + closed + "/x", ConnectRetries: 2, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("err = %v, want connection refused", err)
		}
		if n := strings.Count(log.String(), "does not answer yet"); n != 3 {
			t.Errorf("%d attempts logged, want 3:\n%s", n, log.String())
		}
		if s := fmt.Sprint(err) + log.String(); strings.Contains(s, "hunter2") {
			t.Errorf("the password is in %s", s)
		}
	})

	t.Run("BadSettings", func(t *testing.T) {
		t.Parallel()
		for want, cfg := range map[string]postgres.Config{
			"POOL_MAX_CONNS":       {MaxConns: -1, MinConns: 1},
			"POOL_MIN_CONNS":       {MaxConns: 2, MinConns: 3},
			"POOL_ACQUIRE_TIMEOUT": {AcquireTimeout: -1},
		} {
			cfg.URL = good.String()
			if _, err := postgres.Connect(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("err = %v, want it to name %s", err, want)
			}
		}
	})
}

func TestMaskURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                           "",
		"postgres://u:hunter2@h:1/d": "postgres://u:xxxxx@h:1/d",
		"postgres://u@h/d?password=hunter2&sslmode=allow": "postgres://u@h/d?password=xxxxx&sslmode=allow",
		"postgres://u@h/d?sslpassword=hunter2":            "postgres://u@h/d?sslpassword=xxxxx",
		"host=h port=1 user=u password=hunter2 dbname=d":  "host=h port=1 user=u dbname=d",
		"host=h password=hunter2 nonsense":                "(masked: it cannot be read)",
		"postgres://u:hunter2@h:port/d":                   "(masked: it cannot be read)",
		"postgres://u:hunter2@h/d%zz":                     "(masked: it cannot be read)",
	} {
		if got := postgres.MaskURL(in); got != want {
			t.Errorf("MaskURL(%q) = %q, want %q", in, got, want)
		}
	}
}
