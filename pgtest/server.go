package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quern/localpg"
	"quern/postgres"
)

// shared is the process's one server.
var shared lazyServer

type lazyServer struct {
	once sync.Once
	s    *server
	err  error
	kept atomic.Bool // a test failed
}

func (l *lazyServer) start() (*server, error) {
	l.once.Do(func() { l.s, l.err = startServer() })
	return l.s, l.err
}

// keep keeps the server's files after the tests, so that a failure can be
// inspected.
func (l *lazyServer) keep() { l.kept.Store(true) }

func (l *lazyServer) stop(failed bool) error {
	if l.s == nil {
		return nil
	}
	return l.s.stop(failed && l.kept.Load())
}

// server is the server for tests: either pgtest's own or that of
// TEST_DATABASE_URL.
type server struct {
	dir       string          // of pgtest's own server, otherwise empty
	own       *localpg.Server // otherwise nil
	binaries  string          // directory of own's programs
	admin     *pgxpool.Pool   // connected to the server's maintenance database
	fileCopy  bool            // the server can clone by copying files (PostgreSQL 15 and newer)
	databases atomic.Int64
	templates templates
}

func startServer() (_ *server, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := &server{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop(false))
		}
	}()
	address := os.Getenv("TEST_DATABASE_URL")
	if address == "" {
		if err := s.startOwn(ctx); err != nil {
			return nil, err
		}
		address = s.own.URL()
	}
	if s.admin, err = pgxpool.New(ctx, address); err != nil {
		// The driver's error may contain the password.
		return nil, fmt.Errorf("TEST_DATABASE_URL: %s cannot be parsed: write it as postgres://user:password@host:port/database", postgres.MaskURL(address))
	}
	var version int
	var creates bool
	err = s.admin.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user").
		Scan(&version, &creates)
	if err != nil {
		return nil, err
	}
	if !creates {
		return nil, errors.New("TEST_DATABASE_URL: its role may not create databases: run ALTER ROLE … CREATEDB, or use another role")
	}
	s.fileCopy = version >= 150000
	return s, nil
}

// base is the directory for the files of servers, in memory if the system
// supports it.
var base = func() string {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		return memory
	}
	return os.TempDir()
}()

// startOwn starts a server without durability.
func (s *server) startOwn(ctx context.Context) (err error) {
	if s.dir, err = NewDir(); err != nil {
		return err
	}
	s.binaries, err = localpg.Binaries(ctx, func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		return err
	}
	s.own, err = localpg.Start(ctx, localpg.Config{
		Dir:      filepath.Join(s.dir, "postgres"),
		Binaries: s.binaries,
		Database: "postgres",
		Settings: map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
			"max_connections": "200", "shared_buffers": "64MB",
		},
	})
	return err
}

// create creates a database for one test and returns its name.
func (s *server) create(ctx context.Context, migrations fs.FS) (string, error) {
	name := fmt.Sprintf("pgtest_%d_%s", s.databases.Add(1), strings.ToLower(rand.Text()[:8]))
	if migrations == nil {
		_, err := s.admin.Exec(ctx, "CREATE DATABASE "+name)
		return name, err
	}
	template, err := s.template(ctx, migrations)
	if err != nil {
		return "", err
	}
	clone := fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template)
	if s.fileCopy {
		// FILE_COPY is several times faster for many concurrent clones.
		clone += " STRATEGY FILE_COPY"
	}
	return name, s.whenUnused(ctx, clone)
}

func (s *server) drop(ctx context.Context, name string) error {
	_, err := s.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	return err
}

// url returns the URL of a database of the server.
func (s *server) url(database string) string {
	return databaseURL(s.admin.Config().ConnConfig.ConnString(), database)
}

// databaseURL returns a connection string with another database.
func databaseURL(address, database string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" {
		// In the keyword form the last keyword takes precedence.
		return address + " dbname=" + database
	}
	u.Path = "/" + database
	// A parameter would take precedence over the path.
	query := u.Query()
	query.Del("dbname")
	query.Del("database")
	u.RawQuery = query.Encode()
	return u.String()
}

func (s *server) stop(keep bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errs := []error{s.releaseTemplates(ctx)}
	if s.admin != nil {
		s.admin.Close()
	}
	if s.own != nil {
		errs = append(errs, s.own.Stop(ctx))
	}
	if s.dir == "" {
		return errors.Join(errs...)
	}
	if keep && s.own != nil {
		return errors.Join(append(errs, s.keepFiles())...)
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// keepFiles renames the server's directory. After that, only a later run that fails removes it.
func (s *server) keepFiles() error {
	run := os.Getppid()
	kept := filepath.Join(base, failedName(run, filepath.Base(s.dir)))
	sweepFailed(base, run)
	port := s.admin.Config().ConnConfig.Port
	fmt.Fprintf(os.Stderr, "pgtest: the databases of the failed tests are kept in %s\n"+
		"To connect to them at the URLs that the tests logged, run this as the owner of that directory. Remove the directory afterwards:\n"+
		"    %s -D %s -o '-p %d' -w start\n", kept, filepath.Join(s.binaries, "pg_ctl"), filepath.Join(kept, "postgres", "data"), port)
	return os.Rename(s.dir, kept)
}
