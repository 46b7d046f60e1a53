package postgres_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/testdata"
)

var quiet = slog.New(slog.DiscardHandler)

func TestConnect(t *testing.T) {
	t.Parallel()
	good, err := url.Parse(testdata.NewURL(t))
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(u *url.URL)) string {
		u := *good
		f(&u)
		return u.String()
	}
	// A port that was free a moment ago, so nothing listens on it.
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
			_, err := postgres.Connect(t.Context(), postgres.Config{
				URL: address, ConnectRetries: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			switch {
			case err == nil:
				t.Errorf("%s: no error", name)
			case strings.Contains(err.Error(), "hunter2") || strings.Contains(log.String(), "hunter2"):
				t.Errorf("%s: the password is in %q or the log %q", name, err, log.String())
			case log.Len() > 0:
				t.Errorf("%s: it was retried: %s", name, log.String())
			}
		}
	})

	t.Run("TriedAgainThenGivenUp", func(t *testing.T) {
		t.Parallel()
		var log bytes.Buffer
		_, err := postgres.Connect(t.Context(), postgres.Config{
			URL: "postgres://u:hunter2@" + closed + "/x", ConnectRetries: 3, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("err = %v, want connection refused", err)
		}
		// The last entry is the error. The pauses must grow.
		var pauses []string
		for _, m := range regexp.MustCompile(`does not answer yet.* again_within=(\S+)`).FindAllStringSubmatch(log.String(), -1) {
			pauses = append(pauses, m[1])
		}
		if want := []string{"200ms", "400ms", "800ms"}; !slices.Equal(pauses, want) {
			t.Errorf("paused for up to %v, want %v:\n%s", pauses, want, log.String())
		}
		if most := postgres.ConnectPause(60); most != 5*time.Second {
			t.Errorf("the 60th pause is up to %v, want 5s", most)
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

// TestConnectBacksOff connects to a socket that does not exist, which fails immediately,
// with a fake clock.
func TestConnectBacksOff(t *testing.T) {
	nothing := "host=" + filepath.Join(t.TempDir(), "nothing") + " user=u dbname=d"
	synctest.Test(t, func(t *testing.T) {
		const retries = 20
		begun := time.Now()
		_, err := postgres.Connect(t.Context(), postgres.Config{URL: nothing, ConnectRetries: retries, Logger: quiet})
		if err == nil {
			t.Error("no error")
		}
		// Without growth, 20 pauses take at most 20 × 200 ms. With growth, their limits are
		// 200 ms, 400 ms, … 3.2 s and 15 × 5 s, which is 81.2 s. The random pauses take
		// half of that on average, plus or minus 5.8 s.
		if took := time.Since(begun); took <= retries*200*time.Millisecond || took >= 75*time.Second {
			t.Errorf("%d retries took %v, want about 40s", retries, took)
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
		"host=h password=hunter2 nonsense":                "(masked: it is invalid)",
		"postgres://u:hunter2@h:port/d":                   "(masked: it is invalid)",
		"postgres://u:hunter2@h/d%zz":                     "(masked: it is invalid)",
	} {
		if got := postgres.MaskURL(in); got != want {
			t.Errorf("MaskURL(%q) = %q, want %q", in, got, want)
		}
	}
}

// Missing parts of the connection string come from libpq's environment variables.
func TestConnectByEnvironment(t *testing.T) {
	good, err := url.Parse(pgtest.EmptyURL(t))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := good.User.Password()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	passfile := write("pass", fmt.Sprintf("%s:%s:*:%s:%s\n", good.Hostname(), good.Port(), good.User.Username(), password))
	services := write("services", fmt.Sprintf("[here]\nhost=%s\nport=%s\nuser=%s\npassword=%s\ndbname=%s\n",
		good.Hostname(), good.Port(), good.User.Username(), password, good.Path[1:]))
	where := map[string]string{
		"PGHOST": good.Hostname(), "PGPORT": good.Port(), "PGUSER": good.User.Username(), "PGDATABASE": good.Path[1:], "PGSSLMODE": "disable",
	}
	with := func(more ...string) map[string]string {
		all := maps.Clone(where)
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	for name, tt := range map[string]struct {
		url string
		env map[string]string
	}{
		"all of it":       {"", with("PGPASSWORD", password)},
		"a password file": {"", with("PGPASSFILE", passfile)},
		"a service":       {"", map[string]string{"PGSERVICE": "here", "PGSERVICEFILE": services}},
		"the password":    {fmt.Sprintf("postgres://%s@%s%s", good.User.Username(), good.Host, good.Path), map[string]string{"PGPASSWORD": password}},
		"the database":    {fmt.Sprintf("host=%s port=%s", good.Hostname(), good.Port()), with("PGPASSWORD", password, "PGHOST", "nowhere.invalid")},
		"the name":        {"", with("PGPASSWORD", password, "PGAPPNAME", "quern")},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			r := open(t, postgres.Config{URL: tt.url, MaxConns: 1, ConnectRetries: -1})
			var database, application string
			err := r.QueryRow(t.Context(), "SELECT current_database(), current_setting('application_name')").Scan(&database, &application)
			if err != nil || database != good.Path[1:] || application != "quern" {
				t.Errorf("database %q, application %q, %v", database, application, err)
			}
		})
	}
	t.Run("its error", func(t *testing.T) {
		for k, v := range with("PGPASSWORD", "hunter2") {
			t.Setenv(k, v)
		}
		_, err := postgres.Connect(t.Context(), postgres.Config{Logger: quiet})
		if s := fmt.Sprint(err); !strings.Contains(s, "host="+good.Hostname()) || strings.Contains(s, "hunter2") {
			t.Errorf("err = %v, want it to say where, and no password", err)
		}
	})
	t.Run("its timeout", func(t *testing.T) {
		t.Setenv("PGCONNECT_TIMEOUT", "7")
		r := open(t, postgres.Config{URL: good.String(), MaxConns: 1, ConnectTimeout: time.Second})
		if got := r.Pool().Config().ConnConfig.ConnectTimeout; got != 7*time.Second {
			t.Errorf("connect timeout %v, want 7s", got)
		}
	})
}

// Of several hosts, the one that accepts writes is used.
func TestConnectToOneOfSeveral(t *testing.T) {
	t.Parallel()
	standby, primary := ownServer(t, map[string]string{"default_transaction_read_only": "on"}), pgtest.EmptyURL(t)
	// The same name and password on both servers.
	role := roleName()
	for _, address := range []string{standby.URL(), primary} {
		admin(t, address, "SET default_transaction_read_only = off", "CREATE ROLE "+role+" SUPERUSER LOGIN PASSWORD 'x'")
	}
	t.Cleanup(func() { admin(t, primary, "DROP ROLE "+role) })
	a, b := mustParse(t, standby.URL()), mustParse(t, primary)
	list := fmt.Sprintf("host=%s,%s,%s port=%s,%s,%s user=%s password=x dbname=postgres sslmode=disable connect_timeout=2 target_session_attrs=",
		"127.0.0.1", a.Hostname(), b.Hostname(), mustPort(freeAddress(t)), a.Port(), b.Port(), role)
	for attrs, want := range map[string]string{"any": a.Port(), "read-write": b.Port(), "read-only": a.Port(), "primary": a.Port()} {
		r := open(t, postgres.Config{URL: list + attrs, MaxConns: 1})
		conn, err := r.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, port, _ := net.SplitHostPort(conn.Conn().PgConn().Conn().RemoteAddr().String()); port != want {
			t.Errorf("%s: connected to port %s, want %s", attrs, port, want)
		}
		conn.Release()
		r.Close()
	}
	_, err := postgres.Connect(t.Context(), postgres.Config{URL: list + "standby", ConnectRetries: -1, Logger: quiet})
	if d := postgres.Diagnose(err); !strings.Contains(d.What, "primary") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%+v, want a diagnosis that it is a primary; of %v", d, err)
	}
}

func mustParse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mustPort(address string) string { _, port, _ := net.SplitHostPort(address); return port }
