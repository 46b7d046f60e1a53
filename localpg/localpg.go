// Package localpg runs a real PostgreSQL on this machine, from a directory of its own.
//
// It is what the server uses when no DATABASE_URL is set: no container, no service to install and
// configure, the same program as in production. [Start] makes the directory on first use (about half
// a second), starts the server found by [Find] in it (under a tenth of a second from then on), and
// the server ends with the process that started it, however that process ends.
//
// The directory holds everything:
//
//	data/     the PostgreSQL data directory, and in it the password (quern.password, mode 0600)
//	lock      held while a server runs; says which process holds it
//	log       what PostgreSQL wrote to its standard error; one older generation in log.1
//	port      the TCP port of the last run, taken again when it is still free
//
// PostgreSQL refuses to run as root. Started by root it therefore runs as the owner of its directory,
// as "postgres" or as "nobody", whichever can reach the directory; below a directory that only
// root may enter it runs in a user namespace, as root's files but without root's capabilities.
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

// What Start refuses, for errors.Is. The message of the error that wraps them names the mend.
var (
	// ErrInUse: another process runs a server in the directory.
	ErrInUse = errors.New("data directory in use")
	// ErrVersion: the directory was made by a major version which is not installed.
	ErrVersion = errors.New("data directory of another PostgreSQL version")
	// ErrForeign: the directory holds something which this package did not make.
	ErrForeign = errors.New("not a directory of this program")
	// ErrDiskFull: there is no room on the file system of the directory.
	ErrDiskFull = errors.New("the disk is full")
)

// user owns the cluster. It is a PostgreSQL role, not an account of the machine.
const user = "quern"

const defaultDatabase = "quern"

// Server is a running PostgreSQL. It is made by Start.
type Server struct {
	dir      layout
	version  string
	database string
	password string
	port     int
	socket   string // folder of the unix socket

	process  *process
	lock     *dirLock
	stopping atomic.Bool
	done     chan struct{}
	err      error // read after done
}

// Start runs PostgreSQL in cfg.Dir, which it makes when absent, and returns when the server accepts
// connections. ctx bounds the start, not the server's life: that ends by Stop or with this process.
//
// A server of an earlier run which is still shutting down is waited for. After a failed Start no
// process runs, and the directory is as whole as it was. The error wraps ErrInUse, ErrVersion,
// ErrForeign, ErrDiskFull or ErrNotInstalled if one of these is the reason.
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

// watch settles what the end of the server process leaves to do, whoever ended it.
func (s *Server) watch() {
	<-s.process.done
	removeSocketDir(s.dir, s.socket)
	if !s.stopping.Load() {
		s.err = fmt.Errorf("postgres in %s ended by itself: %s (its log: %s)", s.dir, s.process.state(), s.dir.log())
	}
	s.lock.release()
	close(s.done)
}

// Stop shuts the server down: open connections are ended and everything is written to disk. When ctx
// ends first, it makes the server quit without that, which the next start repairs, and says so in
// its error. Stopping a server that has ended is no error.
func (s *Server) Stop(ctx context.Context) error {
	s.stopping.Store(true)
	clean := s.process.end(ctx, s.dir.data())
	<-s.done
	if !clean {
		return fmt.Errorf("stop postgres in %s: not shut down in time, so killed; the next start recovers: %w",
			s.dir, context.Cause(ctx))
	}
	return nil
}

// URL is how to connect, over TCP and with the password: for pgx, and to be pasted after psql.
func (s *Server) URL() string { return s.url(url.UserPassword(user, s.password)) }

// MaskedURL is URL without the password: for logs.
func (s *Server) MaskedURL() string { return s.url(url.User(user)) }

func (s *Server) url(who *url.Userinfo) string {
	return (&url.URL{
		Scheme: "postgres",
		User:   who,
		Host:   net.JoinHostPort(host, strconv.Itoa(s.port)),
		Path:   "/" + s.database,
		// The server has no certificate: asking for TLS first would cost a round trip each time.
		RawQuery: "sslmode=disable",
	}).String()
}

// SocketURL is URL over the unix socket, which saves some microseconds on each round trip. Only the
// account that runs the server, and root, can reach it.
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

// Running is the URL, to its default database, of the server that another process runs in dir: for
// whoever Start has refused with ErrInUse.
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
		return "", fmt.Errorf("%s does not hold a port (%q): restart the server that runs there, which writes it anew", d.port(), text)
	}
	s := &Server{password: strings.TrimSpace(string(password)), port: port, database: defaultDatabase}
	return s.URL(), nil
}

// PasswordFile is the file that holds the password of the server in dir.
func PasswordFile(dir string) string { return filepath.Join(layout(dir).data(), passwordFile) }

// Dir is the directory given to Start, absolute.
func (s *Server) Dir() string { return string(s.dir) }

// Version is the server's version, such as "15.18".
func (s *Server) Version() string { return s.version }

// PID is the process id of the postmaster.
func (s *Server) PID() int { return s.process.pid }

// Done is closed when the server process has ended, for whatever reason, and its directory may be
// used again.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says, once Done is closed, how a server ended which nobody stopped; otherwise it is nil.
func (s *Server) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// program is the name under which this process appears in the error of one that finds the directory
// in use.
func program() string { return filepath.Base(os.Args[0]) }
