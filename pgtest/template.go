package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/migrate"
)

// templateTimeout bounds the migration of a template, including the wait for another process that
// migrates it.
const templateTimeout = 5 * time.Minute

// templates are the template databases that this process uses.
type templates struct {
	mu     sync.Mutex
	byHash map[string]*template

	session sync.Mutex
	conn    *pgxpool.Conn // holds the advisory locks of the templates
}

// template is a database to be cloned. A process that uses it holds its advisory lock in shared mode,
// so the last process can drop it. Advisory locks are per database, and only test processes use those
// of the maintenance database.
type template struct {
	once sync.Once
	name string
	lock int64
	err  error
}

// template returns the name of the template database for the migrations. It is created once per state
// of the migrations and shared with other processes on the same server.
func (s *server) template(ctx context.Context, migrations fs.FS) (string, error) {
	sum, err := hash(migrations)
	if err != nil {
		return "", err
	}
	name := templateName(sum)
	s.templates.mu.Lock()
	t := s.templates.byHash[name]
	if t == nil {
		t = &template{name: name, lock: int64(binary.BigEndian.Uint64(sum[:8]))}
		if s.templates.byHash == nil {
			s.templates.byHash = map[string]*template{}
		}
		s.templates.byHash[name] = t
	}
	s.templates.mu.Unlock()
	t.once.Do(func() {
		// Later tests use the result too, so it must not depend on the first test's context.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), templateTimeout)
		defer cancel()
		t.err = s.makeTemplate(ctx, t, migrations)
	})
	return t.name, t.err
}

func templateName(hash [sha256.Size]byte) string {
	return "pgtest_template_" + hex.EncodeToString(hash[:])[:12]
}

// hash covers the names and texts of the files that goose reads.
func hash(migrations fs.FS) (sum [sha256.Size]byte, err error) {
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return sum, err
	}
	if len(names) == 0 {
		return sum, errors.New("the migrations have no .sql file at the root of their file system: use fs.Sub for a subdirectory")
	}
	h := sha256.New()
	for _, name := range names { // sorted
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return sum, err
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
	}
	h.Sum(sum[:0])
	return sum, nil
}

func (s *server) makeTemplate(ctx context.Context, t *template, migrations fs.FS) (err error) {
	s.templates.session.Lock()
	defer s.templates.session.Unlock()
	if s.templates.conn == nil {
		if s.templates.conn, err = s.admin.Acquire(ctx); err != nil {
			return err
		}
	}
	conn := s.templates.conn
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", t.lock); err != nil {
		return err
	}
	exists := false
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", t.name).Scan(&exists)
	if err == nil && !exists {
		err = s.migrateTemplate(ctx, t.name, migrations)
	}
	// The exclusive lock becomes a shared one, without a gap in which another process could drop the
	// template. This also happens after an error, because releaseTemplates releases the shared lock.
	_, failed := conn.Exec(ctx, "SELECT pg_advisory_lock_shared($1)", t.lock)
	if failed == nil {
		_, failed = conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", t.lock)
	}
	return errors.Join(err, failed)
}

// migrateTemplate migrates the template under a temporary name, so that an interrupted migration is
// never used as complete.
func (s *server) migrateTemplate(ctx context.Context, name string, migrations fs.FS) error {
	half := name + "_half"
	if err := s.drop(ctx, half); err != nil {
		return err
	}
	if _, err := s.admin.Exec(ctx, "CREATE DATABASE "+half); err != nil {
		return err
	}
	m, err := migrate.New(migrate.Config{
		URL: s.url(half), FS: migrations, Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		_, err = m.Up(ctx)
		err = errors.Join(err, m.Close())
	}
	if err != nil {
		return errors.Join(err, s.drop(ctx, half))
	}
	return s.whenUnused(ctx, fmt.Sprintf("ALTER DATABASE %s RENAME TO %s", half, name))
}

// unusedPause is how long whenUnused waits before it retries. A backend takes a few milliseconds to
// exit.
const unusedPause = 10 * time.Millisecond

// whenUnused runs a statement that requires a database without connections. A recently closed
// connection counts until the server has noticed.
func (s *server) whenUnused(ctx context.Context, sql string) error {
	for {
		_, err := s.admin.Exec(ctx, sql)
		if pgErr := (*pgconn.PgError)(nil); !errors.As(err, &pgErr) || pgErr.Code != pgerrcode.ObjectInUse {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(unusedPause):
		}
	}
}

// releaseTemplates drops each template that no other process uses. This leaves the server of
// TEST_DATABASE_URL as it was.
func (s *server) releaseTemplates(ctx context.Context) error {
	conn := s.templates.conn
	if conn == nil {
		return nil
	}
	var errs []error
	for _, t := range s.templates.byHash {
		if s.own == nil {
			errs = append(errs, s.dropTemplate(ctx, t))
		}
	}
	// The connection is closed and not returned to the pool, so that the server releases the advisory
	// locks.
	return errors.Join(append(errs, conn.Hijack().Close(ctx))...)
}

func (s *server) dropTemplate(ctx context.Context, t *template) error {
	alone := false
	_, err := s.templates.conn.Exec(ctx, "SELECT pg_advisory_unlock_shared($1)", t.lock)
	if err == nil {
		err = s.templates.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", t.lock).Scan(&alone)
	}
	if err != nil || !alone {
		return err
	}
	return s.drop(ctx, t.name)
}
