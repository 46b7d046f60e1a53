// Package server is the PostgreSQL server that all peers are measured on: one
// that is started here and keeps its data on disk, or one that is named. It
// makes the databases, puts back what a measurement changed, and tells what
// the server cost.
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

// settings are those that are not PostgreSQL's defaults, with the reason.
var settings = []struct{ name, value, why string }{
	{"max_connections", "300", "every peer keeps its pool open all the time"},
	{"autovacuum", "off", "it would run in some rounds and not in others. The rows that a measurement wrote are deleted and vacuumed after it"},
	{"max_wal_size", "4GB", "checkpoints are made between the measurements and not in them"},
	{"checkpoint_timeout", "1h", "as max_wal_size"},
}

// Server is a PostgreSQL server in use by the bench.
type Server struct {
	base  string // a URL of it, to no database in particular
	local *localpg.Server
	dir   string
	admin *pgx.Conn
	made  []string // databases

	close sync.Once
}

// Start starts a server with its data on disk, or uses the one that
// BENCH_DATABASE_URL names, whose user has to be a superuser.
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

// diskDir is where a system keeps temporary files on disk; the ordinary place
// may be in memory, where a commit costs nothing.
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
	// The server runs as another user when this one is root.
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

// Close drops the databases that were made and ends the server that was
// started, with its data.
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

// url is the URL of one of its databases.
func (s *Server) url(name string) (string, error) {
	u, err := url.Parse(s.base)
	if err != nil || u.Scheme == "" {
		return "", errors.New("BENCH_DATABASE_URL: has to be a URL, such as postgres://user:password@host/database")
	}
	u.Path = "/" + name
	return u.String(), nil
}

// Facts describe the server for the report, line by line.
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

// FileSystem names the one that the data are on.
func (s *Server) FileSystem() string {
	if s.local == nil {
		return "what the server has"
	}
	return fileSystem(s.dir)
}

// CPU is the processor time of all of the server's processes so far, and how
// much of it was in the kernel; negative when it cannot be known.
func (s *Server) CPU() (all, kernel time.Duration) {
	if s.local == nil {
		return -1, -1
	}
	return treeCPU(s.local.PID())
}
