// Package server manages the PostgreSQL server on which all peers are measured.
// It is either started here with its data on disk, or an existing one. The
// package creates the databases, restores what a measurement changed, and
// reports the server's processor time.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/localpg"
	"quern/postgres"
)

// settings are those that differ from PostgreSQL's defaults, with the reason.
var settings = []struct{ name, value, why string }{
	{"max_connections", "300", "every peer keeps its pool open all the time"},
	{"autovacuum", "off", "it would run in some rounds and not in others. The rows that a measurement wrote are deleted and vacuumed after it"},
	{"max_wal_size", "4GB", "checkpoints are made between the measurements and not in them"},
	{"checkpoint_timeout", "1h", "for the same reason"},
}

// Server is a PostgreSQL server in use by the bench.
type Server struct {
	base  string // a URL of it with any database
	local *localpg.Server
	dir   string
	admin *pgx.Conn
	made  []string // databases

	close sync.Once
}

// Start starts a server with its data on disk, or uses the one of
// BENCH_DATABASE_URL, whose user must be a superuser.
func Start(ctx context.Context, logf func(string, ...any)) (_ *Server, err error) {
	s := &Server{base: os.Getenv("BENCH_DATABASE_URL")}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.base == "" {
		if err := s.startLocal(ctx, logf); err != nil {
			return nil, err
		}
	}
	s.admin, err = pgx.Connect(ctx, s.base)
	if err != nil {
		return nil, fmt.Errorf("BENCH_DATABASE_URL: %s: %w", postgres.MaskURL(s.base), err)
	}
	return s, nil
}

// diskDir is the directory for temporary files on disk. The usual one may be in
// memory, where a commit costs nothing.
const diskDir = "/var/tmp"

func (s *Server) startLocal(ctx context.Context, logf func(string, ...any)) error {
	binaries, err := localpg.Binaries(ctx, func(line string) { logf("%s", line) })
	if err != nil {
		return fmt.Errorf("%w; or set BENCH_DATABASE_URL to a server of your own", err)
	}
	parent := diskDir
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = os.TempDir()
	}
	if s.dir, err = os.MkdirTemp(parent, "quern-bench-*"); err != nil {
		return err
	}
	// If this process is root, the server runs as another user.
	if err := os.Chmod(s.dir, 0o711); err != nil {
		return err
	}
	given := map[string]string{}
	for _, set := range settings {
		given[set.name] = set.value
	}
	s.local, err = localpg.Start(ctx, localpg.Config{
		Dir: filepath.Join(s.dir, "postgres"), Binaries: binaries, Settings: given,
		Log: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		s.base = s.local.URL()
	}
	return err
}

// stopTimeout bounds how long the server may take to shut down.
const stopTimeout = 30 * time.Second

// Close drops the created databases, and stops a server that was started and
// removes its data.
func (s *Server) Close() (err error) {
	s.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if s.local == nil && s.admin != nil {
			for _, name := range s.made {
				err = errors.Join(err, s.drop(ctx, name))
			}
		}
		if s.admin != nil {
			err = errors.Join(err, s.admin.Close(ctx))
		}
		if s.local != nil {
			err = errors.Join(err, s.local.Stop(ctx))
		}
		if s.dir != "" {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	})
	return err
}

func (s *Server) drop(ctx context.Context, name string) error {
	_, err := s.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
	return err
}

// url returns the URL of a database on the server.
func (s *Server) url(name string) (string, error) {
	u, err := url.Parse(s.base)
	if err != nil || u.Scheme == "" {
		return "", errors.New("BENCH_DATABASE_URL: must be a URL, such as postgres://user:password@host/database")
	}
	u.Path = "/" + name
	return u.String(), nil
}

// Facts describes the server for the report, one line per fact.
func (s *Server) Facts(ctx context.Context) ([]string, error) {
	var version string
	if err := s.admin.QueryRow(ctx, "SELECT version()").Scan(&version); err != nil {
		return nil, err
	}
	facts := []string{version}
	for _, name := range []string{"fsync", "synchronous_commit", "shared_buffers", "wal_level"} {
		var value string
		if err := s.admin.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return nil, err
		}
		facts = append(facts, fmt.Sprintf("`%s = %s`", name, value))
	}
	if s.local == nil {
		return append(facts, "a server that was there already: its settings are its own, and its processor time is not known"), nil
	}
	for _, set := range settings {
		facts = append(facts, fmt.Sprintf("`%s = %s`, which is not the default: %s", set.name, set.value, set.why))
	}
	return facts, nil
}

// FileSystem returns the name of the data's file system.
func (s *Server) FileSystem() string {
	if s.local == nil {
		return "what the server has"
	}
	return fileSystem(s.dir)
}

// CPU returns the processor time of all of the server's processes so far and
// the part of it in the kernel, or negative values if they are unknown.
func (s *Server) CPU() (all, kernel time.Duration) {
	if s.local == nil {
		return -1, -1
	}
	return treeCPU(s.local.PID())
}
