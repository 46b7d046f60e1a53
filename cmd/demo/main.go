// Command demo puts real data through a real server: Debian's package index,
// which any Debian machine has. Maintainers become users, packages become
// their posts, all of it through the HTTP API of a server that it starts in an
// empty directory; then it reads everything back in several ways and compares
// it with the file.
//
//	go run ./cmd/demo bin/server
//
// It exits with 1 when anything differs, and does nothing where there is no
// apt-cache.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	packages = 5000 // how many of the index are loaded
	clients  = 16   // requests under way at a time
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo SERVER, such as: go run ./cmd/demo bin/server")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demo(ctx, os.Args[1])
	stop()
	switch {
	case errors.Is(err, errNoIndex):
		fmt.Println("demo: skipped:", err)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is the whole of it: read, start, load, check.
func demo(ctx context.Context, program string) (err error) {
	begun := time.Now()
	index, err := readIndex(ctx, packages)
	if err != nil {
		return err
	}
	say("read", begun, "%d packages of %d maintainers", index.packages, len(index.maintainers))

	begun = time.Now()
	s, err := startServer(program)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	say("started", begun, "a server and its PostgreSQL in an empty directory: %s", s.base)

	if err := load(ctx, s.client(), index); err != nil {
		return err
	}
	return check(ctx, s.client(), index)
}

// say prints a line about a finished step and its duration.
func say(act string, begun time.Time, format string, args ...any) {
	fmt.Printf("%-8s %6.2f s  %s\n", act, time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
}

// server is the process under demonstration.
type server struct {
	cmd  *exec.Cmd
	dir  string
	base string // its URL
}

// startServer starts the program in an empty directory, without any setting of
// this machine, and returns when it has said where it is.
func startServer(program string) (_ *server, err error) {
	program, err = filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "quern-demo-*")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, cmd: exec.Command(program, "serve")}
	s.cmd.Dir = dir
	s.cmd.Env = []string{"LISTEN=127.0.0.1:0", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	s.cmd.Stderr = os.Stderr
	// Ctrl-C ends the demo alone, which then ends the server: two signals would
	// make it end at once, and not in order.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if s.base, err = baseURL(out); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// stop shuts the server down and removes its files.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(os.Interrupt) // it may have ended already: Wait tells how
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the server: %w (its data is in %s)", err, s.dir)
	}
	return os.RemoveAll(s.dir)
}
