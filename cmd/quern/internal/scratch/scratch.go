// Package scratch makes databases on which schemas are tried. They are on a PostgreSQL that
// package localpg starts in memory, or on a server of the caller.
//
//	Start, Server   scratch.go  the server and its databases
//	Migrate         migrate.go  applies the migrations of a project to one of them
//
// Close removes all of them.
package scratch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/localpg"
	"quern/postgres"
)

// Config says where the databases are made. The zero value starts a server.
type Config struct {
	// URL names a server on which the role may create databases. Defaults to starting
	// a server.
	URL string

	// Binaries is the folder with the programs of the server to start. Set it for another
	// version than that which localpg.Find returns. Defaults to what localpg.Binaries returns.
	Binaries string

	// Say is called with a line of text before a download. Defaults to nothing.
	Say func(string)
}

// Server is a server on which databases are made. It is not safe for concurrent use.
type Server struct {
	url       string
	dir       string          // of the server that Start started, otherwise empty
	own       *localpg.Server // otherwise nil
	databases []string
}

// stopTimeout bounds the removal of the databases and the end of the server. If nothing remains
// to be written, the server ends in 15 ms.
const stopTimeout = 30 * time.Second

const dirPrefix = "quern-scratch-" // followed by the process ID

// Start returns a server. The caller must Close it.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if cfg.URL != "" {
		return &Server{url: cfg.URL}, nil
	}
	s := &Server{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start a server for scratch databases: %w", err), s.Close())
		}
	}()
	sweep(base())
	if s.dir, err = os.MkdirTemp(base(), fmt.Sprintf("%s%d-*", dirPrefix, os.Getpid())); err != nil {
		return s, err
	}
	if cfg.Binaries == "" {
		if cfg.Binaries, err = localpg.Binaries(ctx, cfg.Say); err != nil {
			return s, err
		}
	}
	s.own, err = localpg.Start(ctx, localpg.Config{
		Dir:      filepath.Join(s.dir, "postgres"),
		Binaries: cfg.Binaries,
		Database: "postgres",
		// Nothing here outlives the process, and autovacuum would disturb the
		// measurement.
		Settings: map[string]string{
			"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
			"shared_buffers": "64MB", "max_wal_size": "1GB",
		},
	})
	if err == nil {
		s.url = s.own.URL()
	}
	return s, err
}

// base returns the directory for the files of servers, in memory if the system supports it.
func base() string {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		return memory
	}
	return os.TempDir()
}

// sweep removes the directories of processes that were killed. Their servers ended
// with them.
func sweep(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, dirPrefix+"*-*")) // the pattern is well formed
	for _, dir := range dirs {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // another user's
		}
	}
}

// Close drops the databases, and stops the server if Start has started it.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	switch {
	case s.own != nil:
		errs = append(errs, s.own.Stop(ctx))
	case s.url != "":
		for _, name := range s.databases {
			errs = append(errs, s.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"))
		}
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// Create makes an empty database and returns its URL.
func (s *Server) Create(ctx context.Context) (string, error) { return s.create(ctx, "template0") }

// Clone makes a copy of a database that Create or Clone made. No connection to that
// may be open.
func (s *Server) Clone(ctx context.Context, of string) (string, error) {
	u, err := url.Parse(of)
	if err != nil {
		return "", fmt.Errorf("clone a scratch database: %s is not a URL", postgres.MaskURL(of))
	}
	return s.create(ctx, strings.TrimPrefix(u.Path, "/"))
}

func (s *Server) create(ctx context.Context, template string) (string, error) {
	name := "quern_scratch_" + strings.ToLower(rand.Text()[:12])
	if err := s.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		return "", fmt.Errorf("create a scratch database: %w", err)
	}
	s.databases = append(s.databases, name)
	u, err := url.Parse(s.url)
	if err != nil {
		return "", fmt.Errorf("create a scratch database: %s is not a URL: write it as postgres://user:password@host:port/database", postgres.MaskURL(s.url))
	}
	u.Path = "/" + name
	// A parameter would take precedence over the path.
	query := u.Query()
	query.Del("dbname")
	query.Del("database")
	u.RawQuery = query.Encode()
	return u.String(), nil
}

func (s *Server) exec(ctx context.Context, sql string) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}
