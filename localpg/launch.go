package localpg

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// PostgreSQL's log messages after which a start is tried again. They are always in English because of
// lc_messages.
const (
	addressTaken = "could not bind IPv4 address"
	memoryInUse  = "pre-existing shared memory block"
)

// launcher is the state of one call of Start.
type launcher struct {
	cfg     Config
	dir     layout
	build   build
	account account
	created bool // the data directory is new
}

func (l *launcher) program(name string) string { return filepath.Join(l.build.dir, name) }

// prepare leaves a complete data directory that contains the database and in which no process runs.
func (l *launcher) prepare(ctx context.Context, made []string) error {
	for _, path := range append([]string{l.dir.lock()}, made...) {
		if err := l.account.own(path); err != nil {
			return err
		}
	}
	if err := l.sweep(ctx); err != nil {
		return err
	}
	if !l.dir.initialized() {
		return l.create(ctx)
	}
	if err := l.account.adopt(l.dir.data()); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return l.createDatabase(ctx, l.dir.data())
}

// sweep removes the files of an interrupted first start. One of its programs may still be running and
// add files during the removal.
func (l *launcher) sweep(ctx context.Context) error {
	for _, path := range l.dir.leftovers() {
		if err := endOrphans(ctx, path); err != nil {
			return err
		}
		var err error
		poll(ctx, orphanWait, func() bool {
			err = os.RemoveAll(path)
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// launch starts the server and waits until it accepts connections.
func (l *launcher) launch(ctx context.Context) (_ *Server, err error) {
	password, err := os.ReadFile(filepath.Join(l.dir.data(), passwordFile))
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(password)) == 0 {
		return nil, fmt.Errorf("data/%s is empty: write the password of the role %s into it, or restore the directory from a backup", passwordFile, user)
	}
	socket, err := l.socketDir()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			removeSocketDir(l.dir, socket)
		}
	}()
	log, err := openLog(l.dir, l.account)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	begun := time.Now()
	port := l.rememberedPort()
	for attempt := 1; ; attempt++ {
		if port == 0 {
			if port, err = freePort(); err != nil {
				return nil, err
			}
		}
		log.mark()
		p, err := l.serve(ctx, port, socket, log)
		if err == nil {
			if err := l.rememberPort(port); err != nil {
				l.cfg.Log.Warn("the next start will use another port", "error", err)
			}
			if l.created && !off(l.cfg.Settings["fsync"]) {
				// initdb's own sync would take 150 ms. Starting a write-back of everything without waiting for it
				// leaves a power failure almost no time to damage the new directory.
				go writeBack()
			}
			l.cfg.Log.Info("PostgreSQL accepts connections", "dir", l.cfg.Dir, "version", l.build.version,
				"port", port, "pid", p.pid, "account", l.account.name, "took", time.Since(begun).Round(time.Millisecond))
			return &Server{
				dir: l.dir, version: l.build.version, database: l.cfg.Database, port: port, socket: socket,
				password: strings.TrimSpace(string(password)), process: p, done: make(chan struct{}),
			}, nil
		}
		said := log.sinceMark()
		switch {
		case ctx.Err() != nil:
			return nil, err
		case strings.Contains(said, addressTaken) && attempt < 10:
			// Another process took the port after freePort and before PostgreSQL.
			port = 0
			continue
		case strings.Contains(said, memoryInUse) && attempt < 50:
			// Backends of a killed server, which this process cannot see. They end by themselves.
			if !poll(ctx, 100*time.Millisecond, func() bool { return ctx.Err() != nil }) {
				continue
			}
		}
		if lines := complaints(said); lines != "" {
			err = fmt.Errorf("%w: %s", err, strings.ReplaceAll(lines, strings.TrimSpace(string(password)), "…"))
		}
		return nil, fmt.Errorf("%w (its log: %s)", err, l.dir.log())
	}
}

// endedError is the exit status of a server that ended before it was ready.
type endedError string

func (e endedError) Error() string { return "postgres: " + string(e) }

// serve runs one server process and returns when it is ready. If it does not become ready, serve leaves
// no process.
func (l *launcher) serve(ctx context.Context, port int, socket string, log *serverLog) (*process, error) {
	settings := map[string]string{
		"listen_addresses":        host,
		"port":                    strconv.Itoa(port),
		"unix_socket_directories": `"` + strings.ReplaceAll(socket, `"`, `""`) + `"`,
		"unix_socket_permissions": "0700",
		"logging_collector":       "off",
		"log_destination":         "stderr",
	}
	maps.Copy(settings, l.cfg.Settings)
	args := []string{"-D", l.dir.data()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	// SIGINT is PostgreSQL's fast shutdown. The kernel sends it to the server if this process is killed.
	cmd := command(l.account, syscall.SIGINT, string(l.dir), l.program("postgres"), args...)
	cmd.Stdout, cmd.Stderr = log.File, log.File
	p, err := spawn(cmd)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !l.ready(p.pid) {
		select {
		case <-tick.C:
		case <-p.done:
			return nil, endedError(p.state())
		case <-ctx.Done():
			patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), immediateWait)
			defer cancel()
			p.end(patience, l.dir.data())
			return nil, fmt.Errorf("not ready in time: %w", ctx.Err())
		}
	}
	return p, nil
}

// ready checks the eighth line of postmaster.pid, as pg_ctl does (miscinit.h,
// LOCK_FILE_LINE_PM_STATUS).
func (l *launcher) ready(pid int) bool {
	content, err := os.ReadFile(filepath.Join(l.dir.data(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	return len(lines) > 8 && lines[0] == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}
