package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sethvargo/go-retry"

	"quern"
	"quern/localpg"
	"quern/postgres"
)

// templateLock is the advisory lock that test processes on one server share
// while they use templates. The number means nothing but this.
const templateLock = 7_823_401_155

// shared is the process's one server.
var shared lazyCluster

type lazyCluster struct {
	once sync.Once
	c    *cluster
	err  error
}

func (l *lazyCluster) start() (*cluster, error) {
	l.once.Do(func() { l.c, l.err = startCluster() })
	return l.c, l.err
}

func (l *lazyCluster) stop(failed bool) error {
	if l.c == nil {
		return nil
	}
	return l.c.stop(failed)
}

// cluster is a server for tests: our own, or one that was named.
type cluster struct {
	dir       string          // of our own server, else empty
	server    *localpg.Server // our own, else nil
	admin     *pgxpool.Pool   // on the server's maintenance database
	lock      *pgxpool.Conn   // holds templateLock, shared
	template  string
	fileCopy  bool // the server can clone by copying files: PostgreSQL 15 and newer
	databases atomic.Int64
	kept      atomic.Bool
}

func startCluster() (_ *cluster, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := &cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop(false))
		}
	}()
	address := os.Getenv("TEST_DATABASE_URL")
	if address == "" {
		if err := c.startServer(ctx); err != nil {
			return nil, err
		}
		address = c.server.URL()
	}
	if c.admin, err = pgxpool.New(ctx, address); err != nil {
		return nil, fmt.Errorf("TEST_DATABASE_URL: %s cannot be read", postgres.MaskURL(address))
	}
	var version int
	err = c.admin.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version)
	if err != nil {
		return nil, err
	}
	c.fileCopy = version >= 150000
	if c.server == nil {
		if err := checkForeign(ctx, c.admin); err != nil {
			return nil, err
		}
	}
	return c, c.makeTemplate(ctx)
}

// startServer starts a server that keeps nothing safe, and all in memory where
// the system has a place for that.
func (c *cluster) startServer(ctx context.Context) (err error) {
	base := "/dev/shm"
	if info, err := os.Stat(base); err != nil || !info.IsDir() {
		base = os.TempDir()
	}
	sweep(base)
	// The process's number tells the next sweep whether anyone still needs it.
	c.dir, err = os.MkdirTemp(base, fmt.Sprintf("quern-test-%d-*", os.Getpid()))
	if err != nil {
		return err
	}
	binaries, err := localpg.Binaries(ctx, func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		return err
	}
	c.server, err = localpg.Start(ctx, localpg.Config{
		Dir:      filepath.Join(c.dir, "postgres"),
		Binaries: binaries,
		Settings: map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
			"max_connections": "200", "shared_buffers": "64MB",
		},
	})
	return err
}

// makeTemplate migrates a database once for each state of the migrations;
// other processes on the same server find it there.
func (c *cluster) makeTemplate(ctx context.Context) (err error) {
	hash, err := migrationsHash()
	if err != nil {
		return err
	}
	c.template = "quern_template_" + hash
	if c.lock, err = c.admin.Acquire(ctx); err != nil {
		return err
	}
	if _, err := c.lock.Exec(ctx, "SELECT pg_advisory_lock($1)", templateLock); err != nil {
		return err
	}
	exists := false
	err = c.lock.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", c.template).Scan(&exists)
	if err == nil && !exists {
		err = c.migrateTemplate(ctx)
	}
	if err != nil {
		return err
	}
	// From alone to shared, without a moment in between in which another
	// process could drop the template.
	_, err = c.lock.Exec(ctx, "SELECT pg_advisory_lock_shared($1)", templateLock)
	if err == nil {
		_, err = c.lock.Exec(ctx, "SELECT pg_advisory_unlock($1)", templateLock)
	}
	return err
}

// migrateTemplate makes the template under another name first, so that one
// that was cut short is never taken for whole.
func (c *cluster) migrateTemplate(ctx context.Context) error {
	half := c.template + "_half"
	if err := c.drop(ctx, half); err != nil {
		return err
	}
	if _, err := c.admin.Exec(ctx, "CREATE DATABASE "+half); err != nil {
		return err
	}
	m, err := postgres.NewMigrator(postgres.MigrateConfig{
		URL: c.url(half), FS: quern.Migrations(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	_, err = m.Up(ctx)
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	return c.whenUnused(ctx, fmt.Sprintf("ALTER DATABASE %s RENAME TO %s", half, c.template))
}

func migrationsHash() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(quern.Migrations(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(quern.Migrations(), path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:12], err
}

// create makes a database for one test and returns its name.
func (c *cluster) create(ctx context.Context, migrated bool) (string, error) {
	name := fmt.Sprintf("quern_test_%d_%s", c.databases.Add(1), strings.ToLower(rand.Text()[:8]))
	if !migrated {
		_, err := c.admin.Exec(ctx, "CREATE DATABASE "+name)
		return name, err
	}
	clone := fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, c.template)
	if c.fileCopy {
		// Many clones at once are several times faster this way.
		clone += " STRATEGY FILE_COPY"
	}
	return name, c.whenUnused(ctx, clone)
}

// whenUnused runs a statement that needs a database nobody is connected to. A
// connection that was closed a moment ago counts until the server has seen it.
func (c *cluster) whenUnused(ctx context.Context, sql string) error {
	return retry.Do(ctx, retry.NewConstant(10*time.Millisecond), func(ctx context.Context) error {
		_, err := c.admin.Exec(ctx, sql)
		if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) && pgErr.Code == pgerrcode.ObjectInUse {
			return retry.RetryableError(err)
		}
		return err
	})
}

func (c *cluster) drop(ctx context.Context, name string) error {
	_, err := c.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	return err
}

// url returns the URL of a database of the cluster.
func (c *cluster) url(database string) string {
	config := c.admin.Config().ConnConfig
	u, err := url.Parse(config.ConnString())
	if err == nil && u.Scheme != "" {
		u.Path = "/" + database
		return u.String()
	}
	// The keyword form: the last word wins.
	return config.ConnString() + " dbname=" + database
}

// keep lets the server's files stay after the tests, for a look at a failure.
func (c *cluster) keep() { c.kept.Store(true) }

func (c *cluster) stop(failed bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if c.server == nil && c.lock != nil {
		errs = append(errs, c.dropTemplate(ctx))
	}
	if c.lock != nil {
		// Closed, not released: that lets the advisory lock go.
		errs = append(errs, c.lock.Hijack().Close(ctx))
	}
	if c.admin != nil {
		c.admin.Close()
	}
	if c.server != nil {
		errs = append(errs, c.server.Stop(ctx))
	}
	if c.dir == "" {
		return errors.Join(errs...)
	}
	if failed && c.kept.Load() {
		// Another name, which only a later run that fails removes.
		kept := filepath.Join(filepath.Dir(c.dir), failedName(os.Getppid(), filepath.Base(c.dir)))
		sweepFailed(filepath.Dir(c.dir), os.Getppid())
		fmt.Fprintf(os.Stderr, "storetest: the databases of the failed tests are kept. To look at them:\n"+
			"    DATA_DIR=%s go run ./cmd/server serve\nand remove that folder afterwards.\n", kept)
		return errors.Join(append(errs, os.Rename(c.dir, kept))...)
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// dropTemplate leaves somebody else's server as it was found, unless other
// test processes still use the template: the last of them drops it.
func (c *cluster) dropTemplate(ctx context.Context) error {
	alone := false
	_, err := c.lock.Exec(ctx, "SELECT pg_advisory_unlock_shared($1)", templateLock)
	if err == nil {
		err = c.lock.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", templateLock).Scan(&alone)
	}
	if err != nil || !alone {
		return err
	}
	return c.drop(ctx, c.template)
}
