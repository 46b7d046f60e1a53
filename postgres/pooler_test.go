package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// bouncer starts a PgBouncer in front of the tests' server, and returns address through it.
func bouncer(t *testing.T, address string, settings ...string) string {
	t.Helper()
	through, _ := mortalBouncer(t, address, settings...)
	return through
}

// mortalBouncer is like bouncer. It also returns a function that returns the FATAL line of the
// log if the PgBouncer has died.
func mortalBouncer(t *testing.T, address string, settings ...string) (string, func() string) {
	t.Helper()
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		if binary = "/usr/sbin/pgbouncer"; exec.Command(binary, "--version").Run() != nil {
			t.Skip("pgbouncer is not installed: apt-get install pgbouncer")
		}
	}
	target, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	password, _ := target.User.Password()
	dir := t.TempDir()
	ini := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=%s password=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = any\n%s\n", target.Hostname(), target.Port(), target.User.Username(), password, port, strings.Join(settings, "\n"))
	if err := os.WriteFile(ini, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, ini)
	if os.Geteuid() == 0 {
		// PgBouncer refuses to run as root.
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Skip(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		for _, path := range []string{filepath.Dir(dir), dir, ini} {
			if err := os.Chown(path, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	died := func() string {
		// The connection of a dying process ends before its parent notices that the process has
		// ended.
		select {
		case <-ended:
			return regexp.MustCompile("(?m)^.*FATAL.*$").FindString(out.String())
		case <-time.After(2 * time.Second):
			return ""
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			if fatal := died(); fatal != "" {
				t.Logf("the PgBouncer has died, so later failures are not the runtime's fault: %s", fatal)
			}
			t.Log(out.String())
		}
		_ = cmd.Process.Kill()
		<-ended
	})
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	eventually(t, "pgbouncer listens", func() bool {
		c, err := net.Dial("tcp", at)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return changed(t, address, func(u *url.URL) { u.Host = at }), died
}

func TestTransactionPooler(t *testing.T) {
	t.Parallel()

	// 16 client connections share 4 server connections.
	t.Run("MixedCalls", func(t *testing.T) {
		t.Parallel()
		address := bouncer(t, testdata.NewURL(t), "pool_mode = transaction", "default_pool_size = 4")
		d := testdata.Open(t, postgres.Config{URL: address, MaxConns: 16, Pooler: postgres.PoolerTransaction})
		var done, failed atomic.Int64
		start := time.Now()
		var all sync.WaitGroup
		for worker := range 16 {
			all.Go(func() {
				for i := 0; done.Add(1) <= 5000; i++ {
					if err := mixedCall(t.Context(), d, worker, i); err != nil {
						if failed.Add(1) < 5 {
							t.Error(err)
						}
					}
				}
			})
		}
		all.Wait()
		if failed.Load() > 0 {
			t.Errorf("%d of 5000 calls failed", failed.Load())
		}
		t.Logf("5000 calls, %d failed, %.0f a second", failed.Load(), 5000/time.Since(start).Seconds())
	})

	t.Run("NotSaid", func(t *testing.T) {
		t.Parallel()
		for _, settings := range [][]string{
			{"pool_mode = transaction"},
			{"pool_mode = transaction", "default_pool_size = 1"},
			{"pool_mode = transaction", "server_round_robin = 1"},
			{"pool_mode = statement"},
		} {
			address := bouncer(t, testdata.NewURL(t), settings...)
			start := time.Now()
			_, err := postgres.Connect(t.Context(), postgres.Config{URL: address, MaxConns: 4, ConnectRetries: 1000, Logger: quiet})
			if err == nil || !strings.Contains(err.Error(), "POOLER=transaction") {
				t.Errorf("%v: err = %v, want it to name POOLER=transaction", settings, err)
			}
			if took := time.Since(start); took > patience/2 {
				t.Errorf("%v: detected after %v", settings, took)
			}
		}
	})

	t.Run("SessionMode", func(t *testing.T) {
		t.Parallel()
		d := testdata.Open(t, postgres.Config{URL: bouncer(t, testdata.NewURL(t), "pool_mode = session")})
		for i := range 20 {
			if err := mixedCall(t.Context(), d, 0, i); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("ParameterItDoesNotTake", func(t *testing.T) {
		t.Parallel()
		address := bouncer(t, testdata.NewURL(t), "pool_mode = transaction")
		_, err := postgres.Connect(t.Context(), postgres.Config{
			URL: as(t, address, "", "", "statement_timeout", "5s"), Logger: quiet, Pooler: postgres.PoolerTransaction,
		})
		if err == nil || !strings.HasSuffix(err.Error(), "ignore_startup_parameters") {
			t.Errorf("err = %v, want it to name ignore_startup_parameters", err)
		}
		r := open(t, postgres.Config{URL: address, Pooler: postgres.PoolerTransaction})
		for name := range r.Pool().Config().ConnConfig.RuntimeParams {
			switch name {
			case "application_name", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings":
			default:
				t.Errorf("sent to the pooler, which accepts it only if its ini file allows it: %s", name)
			}
		}
	})

	t.Run("ChangedResult", func(t *testing.T) {
		t.Parallel()
		address := bouncer(t, pgtest.EmptyURL(t), "pool_mode = transaction")
		r := open(t, postgres.Config{URL: address, MaxConns: 1, Pooler: postgres.PoolerTransaction})
		for _, sql := range []string{"CREATE TABLE t (a int)", "INSERT INTO t VALUES (7)"} {
			if _, err := r.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		var a int64
		for _, change := range []string{
			"SELECT 1", "ALTER TABLE t ALTER a TYPE bigint", "ALTER TABLE t ALTER a TYPE numeric", "ALTER TABLE t ADD b text",
		} {
			if _, err := r.Exec(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			if err := r.QueryRow(t.Context(), "SELECT a FROM t WHERE a = $1", 7).Scan(&a); err != nil || a != 7 {
				t.Errorf("behind %s: %d, %v", change, a, err)
			}
		}
	})

	t.Run("Cancelled", func(t *testing.T) {
		t.Parallel()
		// PgBouncer 1.18 dies ("bad client state") if a cancel request is closed before it is
		// answered. That happens to a request that takes a second.
		for range 5 {
			address, died := mortalBouncer(t, pgtest.EmptyURL(t), "pool_mode = transaction")
			failure := cancelBehind(t, address)
			if failure == nil {
				return
			}
			fatal := died()
			if fatal == "" {
				t.Error(failure)
				return
			}
			t.Logf("starting another PgBouncer, because this one has died: %s", fatal)
		}
		t.Error("five PgBouncers died")
	})
}

// cancelBehind cancels statements behind a pooler. It returns an error if the next
// statement on the same connection is affected.
func cancelBehind(t *testing.T, address string) error {
	t.Helper()
	r, err := postgres.Connect(t.Context(), postgres.Config{URL: address, MaxConns: 1, Pooler: postgres.PoolerTransaction, Logger: quiet})
	if err != nil {
		return err
	}
	defer r.Close()
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := r.Exec(ctx, sleep)
		cancel()
		if err == nil {
			return errors.New("a statement of a minute ended in 10 ms, and well")
		}
		if _, err := r.Exec(t.Context(), "SELECT 1"); err != nil {
			return fmt.Errorf("the next statement: %w", err)
		}
	}
	t.Logf("10 cancelled statements opened %d connections", r.Pool().Stat().NewConnsCount())
	return nil
}

// mixedCall makes one of the calls of a typical application.
func mixedCall(ctx context.Context, d *testdata.DB, worker, i int) error {
	age := int32(i % 100)
	name := fmt.Sprintf("w%d-%d", worker, i)
	user := db.CreateAccountParams{Username: name, Email: name + "@example.com", Age: &age, Tags: []string{"a", "b"}}
	switch i % 5 {
	case 0:
		u, err := d.Queries.CreateAccount(ctx, user)
		if err == nil && (len(u.Tags) != 2 || *u.Age != age) {
			err = fmt.Errorf("stored %v", u)
		}
		return err
	case 1:
		if _, err := d.Queries.GetAccount(ctx, int64(i)); !errors.Is(err, postgres.ErrNotFound) {
			return err
		}
		return nil
	case 2:
		return postgres.InTx(ctx, d.Router, postgres.TxOptions{}, func(tx postgres.DBTX) error {
			q := db.New(tx)
			u, err := q.CreateAccount(ctx, user)
			if err != nil {
				return err
			}
			for range 2 {
				if _, err = q.CreateNote(ctx, db.CreateNoteParams{AccountID: u.ID, Title: "t", Content: "c", Tags: []string{"x"}}); err != nil {
					return err
				}
			}
			return nil
		})
	case 3:
		rows, err := d.Router.Query(ctx, "SELECT id, tags, created_at FROM accounts ORDER BY id LIMIT $1", 50)
		if err != nil {
			return err
		}
		for rows.Next() {
			var id int64
			var tags []string
			var at time.Time
			if err := rows.Scan(&id, &tags, &at); err != nil {
				return err
			}
		}
		return rows.Err()
	default:
		_, err := d.Router.Exec(ctx, "UPDATE accounts SET tags = $2 WHERE username = $1", name, []byte(`["c"]`))
		return err
	}
}
