//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/internal/localcluster"
)

// startLimit bounds each wait for a server to start, recover or end. It is long
// because the machine may be busy.
const startLimit = 30 * time.Second

// node is one server of a cluster. It keeps its address when it is killed and
// restarted.
type node struct {
	lab      *lab
	name     string
	host     *host // nil for loopback
	dir      string
	port     int
	settings map[string]string
	process  *process
	family   []int // all processes that existed at the last signal
}

// cluster is a primary with its standbys.
type cluster struct {
	primary  *node
	standbys []*node
}

type clusterConfig struct {
	network  *network // with a host for each node, in order; nil for loopback
	standbys int
	settings map[string]string // of all nodes
	primary  map[string]string // of the primary at the start
}

// newCluster starts an empty, migrated primary and standbys that stream from
// it. At the end of the test it checks that no client is connected any more and
// removes everything.
func newCluster(t testing.TB, cfg clusterConfig) *cluster {
	t.Helper()
	l := useLab(t)
	c := &cluster{primary: l.newNode(t, "primary", cfg.settings)}
	c.primary.join(t, cfg.network)
	maps.Copy(c.primary.settings, cfg.primary)
	c.primary.start(t)
	for i := range cfg.standbys {
		s := l.newNode(t, fmt.Sprintf("standby%d", i+1), cfg.settings)
		s.join(t, cfg.network)
		s.follow(t, c.primary)
		c.standbys = append(c.standbys, s)
	}
	for _, s := range c.standbys {
		s.start(t)
	}
	c.waitForStreaming(t, cfg.standbys)
	return c
}

// newSynchronousPair starts a primary whose COMMITs all wait for its standby.
func newSynchronousPair(t testing.TB) *cluster {
	t.Helper()
	c := newCluster(t, clusterConfig{standbys: 1, primary: map[string]string{"synchronous_standby_names": "*"}})
	eventually(t, startLimit, "the pair is synchronous", func() bool {
		return ask[int](t, c.primary, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1
	})
	return c
}

func (c *cluster) waitForStreaming(t testing.TB, standbys int) {
	t.Helper()
	eventually(t, startLimit, "the standbys stream", func() bool {
		return ask[int](t, c.primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == standbys
	})
}

func (l *lab) newNode(t testing.TB, name string, settings map[string]string) *node {
	t.Helper()
	n := l.emptyNode(t, name, settings)
	if err := l.run("/bin/cp", "-Rp", l.template(), n.dir); err != nil {
		t.Fatal(err)
	}
	return n
}

// emptyNode returns a node without data.
func (l *lab) emptyNode(t testing.TB, name string, settings map[string]string) *node {
	t.Helper()
	dir, err := os.MkdirTemp(l.dir, name+"-*")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{lab: l, name: name, dir: filepath.Join(dir, "data"), settings: maps.Clone(settings)}
	if n.settings == nil {
		n.settings = map[string]string{}
	}
	t.Cleanup(func() {
		n.checkClients(t)
		n.destroy()
		if t.Failed() {
			said := n.said()
			t.Logf("the end of the log of %s:\n%s", n.name, said[max(0, len(said)-2000):])
		}
		os.RemoveAll(dir)
	})
	if l.credential != nil {
		if err := os.Chown(dir, int(l.credential.Uid), int(l.credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// follow makes the node a standby of another one when it starts.
func (n *node) follow(t testing.TB, primary *node) {
	t.Helper()
	n.settings["primary_conninfo"] = fmt.Sprintf("host=%s port=%d user=%s password=%s application_name=%s",
		primary.ip(), primary.port, user, n.lab.password, n.name)
	n.write(t, "standby.signal", "")
}

// join puts the node on the host of the same name. The test itself uses a Unix
// socket, which is reachable from every network namespace.
func (n *node) join(t testing.TB, net *network) {
	t.Helper()
	if net == nil {
		return
	}
	n.host = net.named(n.name)
	rules, err := os.ReadFile(filepath.Join(n.dir, "pg_hba.conf"))
	if err != nil {
		t.Fatal(err)
	}
	n.write(t, "pg_hba.conf", string(rules)+fmt.Sprintf("host all,replication all %s.0/24 md5\n", net.prefix))
}

// ip returns the address at which the node listens.
func (n *node) ip() string { return n.host.ip() }

// socketDir returns the directory of the node's Unix socket, or "" if it has
// none.
func (n *node) socketDir() string {
	if n.host == nil {
		return ""
	}
	return filepath.Dir(n.dir)
}

func (n *node) write(t testing.TB, name, text string) {
	t.Helper()
	if err := n.tryWrite(name, text); err != nil {
		t.Fatal(err)
	}
}

func (n *node) tryWrite(name, text string) error {
	path := filepath.Join(n.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil || n.lab.credential == nil {
		return err
	}
	return os.Chown(path, int(n.lab.credential.Uid), int(n.lab.credential.Gid))
}

func (n *node) log() string { return filepath.Join(filepath.Dir(n.dir), n.name+".log") }

// configure writes the settings to postgresql.auto.conf, like ALTER SYSTEM.
func (n *node) configure() error {
	all := map[string]string{
		"port":                         strconv.Itoa(n.port),
		"listen_addresses":             n.ip(),
		"unix_socket_directories":      n.socketDir(),
		"max_connections":              "100",
		"shared_buffers":               "16MB",
		"dynamic_shared_memory_type":   "mmap", // so that a killed server leaves nothing outside its directory
		"wal_keep_size":                "512MB",
		"max_wal_size":                 "512MB",
		"wal_retrieve_retry_interval":  "200ms",
		"wal_receiver_status_interval": "1s",
		"timezone":                     "UTC",
		"log_timezone":                 "UTC",
	}
	maps.Copy(all, n.settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s = '%s'\n", name, strings.ReplaceAll(all[name], "'", "''"))
	}
	return n.tryWrite("postgresql.auto.conf", text.String())
}

// set changes settings of a running server. They must not need a restart.
func (n *node) set(t testing.TB, settings map[string]string) {
	t.Helper()
	maps.Copy(n.settings, settings)
	if err := n.configure(); err != nil {
		t.Fatal(err)
	}
	n.signal(t, syscall.SIGHUP)
	for name, value := range settings {
		eventually(t, startLimit, name+" is in force", func() bool {
			return ask[string](t, n, "SELECT current_setting('"+name+"')") == value
		})
	}
}

// start starts the server and returns when it accepts connections.
func (n *node) start(t testing.TB) {
	t.Helper()
	if err := n.tryStart(); err != nil {
		t.Fatal(err)
	}
}

func (n *node) tryStart() error {
	fresh := n.port == 0
	for until := time.Now().Add(startLimit); ; {
		if fresh {
			n.port = localcluster.FreePort()
		}
		err := n.startOnce()
		if err == nil || time.Now().After(until) {
			return err
		}
		// Another program took the port first, or backends of a killed server are
		// still running.
		if s := err.Error(); !(fresh && strings.Contains(s, "could not bind")) &&
			!strings.Contains(s, "pre-existing shared memory block") && !strings.Contains(s, "lock file") {
			return err
		}
	}
}

func (n *node) startOnce() error {
	if err := n.configure(); err != nil {
		return err
	}
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	cmd := n.lab.command(filepath.Join(n.lab.bin, "postgres"), "-D", n.dir)
	cmd.Stdout, cmd.Stderr = log, log
	if n.process, err = spawnOn(n.host, cmd); err != nil {
		return err
	}
	if poll(startLimit, func() bool { return n.ready() || !n.process.running() }) && n.process.running() {
		return nil
	}
	n.destroy()
	return fmt.Errorf("%s does not start: %s", n.name, n.said()[before:])
}

// ready checks the eighth line of postmaster.pid, as pg_ctl does.
func (n *node) ready() bool {
	text, _ := os.ReadFile(filepath.Join(n.dir, "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	return len(lines) > 8 && lines[0] == strconv.Itoa(n.process.pid) && strings.TrimSpace(lines[7]) == "ready"
}

func (n *node) address() string { return net.JoinHostPort(n.ip(), strconv.Itoa(n.port)) }

func (n *node) url() string { return n.urlVia(n.address()) }

// urlVia returns the node's URL with another address, such as that of a proxy.
// Several addresses are separated by commas.
func (n *node) urlVia(address string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(user, n.lab.password), Host: address, Path: "/" + database,
		RawQuery: "sslmode=disable",
	}).String()
}

// admin is the application name of the tests' own connections.
const admin = "faults admin"

// dial opens a connection for the test itself, which is not under test.
func (n *node) dial(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(n.url())
	if err != nil {
		return nil, err
	}
	cfg.Database = database
	if dir := n.socketDir(); dir != "" {
		cfg.Host = dir
	}
	cfg.RuntimeParams["application_name"] = admin
	return pgx.ConnectConfig(ctx, cfg)
}

func (n *node) exec(ctx context.Context, database, sql string) error {
	conn, err := n.dial(ctx, database)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}

// ask returns the single value that a statement of the test selects.
func ask[T any](t testing.TB, n *node, sql string, args ...any) T {
	t.Helper()
	// The test's context ends before the clean-up.
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	var value T
	conn, err := n.dial(ctx, database)
	if err == nil {
		err = conn.QueryRow(ctx, sql, args...).Scan(&value)
		err = errors.Join(err, conn.Close(ctx))
	}
	if err != nil {
		t.Fatalf("ask %s: %v", n.name, err)
	}
	return value
}

// signal sends a signal to the postmaster only.
func (n *node) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(n.process.pid, s); err != nil {
		t.Fatal(err)
	}
}

// pause stops every process of the server. The server keeps its connections and
// its port but does not answer.
func (n *node) pause(t testing.TB) {
	t.Helper()
	n.signal(t, syscall.SIGSTOP) // first, so that it starts no more children
	n.family = n.process.family()
	for _, pid := range n.family {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
	}
}

// resume continues a paused server.
func (n *node) resume() {
	for _, pid := range n.family {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// kill ends the postmaster like a crash, without a signal to its children, and
// returns when all of them have ended.
func (n *node) kill(t testing.TB) {
	t.Helper()
	n.family = n.process.family()
	n.signal(t, syscall.SIGKILL)
	<-n.process.done
	n.waitForFamily(t)
}

func (n *node) waitForFamily(t testing.TB) {
	t.Helper()
	eventually(t, startLimit, "the processes of "+n.name+" end", func() bool { return !slices.ContainsFunc(n.family, alive) })
	n.family = nil // other processes may get these pids
}

// killBackend ends one client backend like a crash. The server then ends all
// sessions. The conditions are as for backends. killBackend returns when the server has begun to recover.
func (n *node) killBackend(t testing.TB, conditions ...string) {
	t.Helper()
	const recovers = "all server processes terminated; reinitializing"
	before := strings.Count(n.said(), recovers)
	eventually(t, startLimit, "a backend is there to be killed", func() bool {
		pids := n.backends(t, conditions...)
		return len(pids) > 0 && syscall.Kill(pids[rand.IntN(len(pids))], syscall.SIGKILL) == nil
	})
	eventually(t, startLimit, n.name+" notices", func() bool { return strings.Count(n.said(), recovers) > before })
}

// backends returns the pids of the client backends for which the conditions on
// pg_stat_activity hold.
func (n *node) backends(t testing.TB, conditions ...string) []int {
	t.Helper()
	return ask[[]int](t, n, `SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND application_name <> $1 AND `+strings.Join(append(conditions, "true"), " AND "), admin)
}

// said returns the server's log.
func (n *node) said() string {
	text, _ := os.ReadFile(n.log())
	return string(text)
}

// shutDown ends the server with a fast shutdown: it does not wait for clients
// and writes everything to disk.
func (n *node) shutDown() error {
	if err := syscall.Kill(n.process.pid, syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-n.process.done:
		return n.process.err
	case <-time.After(startLimit):
		return fmt.Errorf("%s does not shut down", n.name)
	}
}

// restart shuts the server down and starts it again.
func (n *node) restart(t testing.TB) {
	t.Helper()
	if err := n.shutDown(); err != nil {
		t.Fatal(err)
	}
	n.start(t)
}

// promote makes a standby a primary and returns when it accepts writes.
func (n *node) promote(t testing.TB) {
	t.Helper()
	// This is what pg_promote() does, without a connection.
	n.write(t, "promote", "")
	n.signal(t, syscall.SIGUSR1)
	eventually(t, startLimit, n.name+" is promoted", func() bool { return !ask[bool](t, n, "SELECT pg_is_in_recovery()") })
}

// destroy ends the server by any means.
func (n *node) destroy() {
	if n.process == nil {
		return
	}
	if n.process.running() {
		n.family = n.process.family()
		n.resume()
		_ = syscall.Kill(n.process.pid, syscall.SIGQUIT)
		select {
		case <-n.process.done:
		case <-time.After(startLimit):
			_ = syscall.Kill(n.process.pid, syscall.SIGKILL)
			<-n.process.done
		}
	}
	for _, pid := range n.family {
		if pid != n.process.pid && alive(pid) {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	poll(startLimit, func() bool { return !slices.ContainsFunc(n.family, alive) })
	n.removeSharedMemory()
}

// removeSharedMemory removes the shared memory segment, which is all that a
// killed server leaves outside its directory. Servers use it to detect another
// server in the same directory. The seventh line of postmaster.pid names it.
func (n *node) removeSharedMemory() {
	text, err := os.ReadFile(filepath.Join(n.dir, "postmaster.pid"))
	if err != nil {
		return
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 7 {
		return
	}
	if words := strings.Fields(lines[6]); len(words) == 2 {
		id, _ := strconv.Atoi(words[1])
		_, _, _ = syscall.Syscall(syscall.SYS_SHMCTL, uintptr(id), 0 /* IPC_RMID */, 0)
	}
}

// waitForBackends returns when the server has no active transaction. A
// transaction may still commit after its client has gone.
func (n *node) waitForBackends(t testing.TB) {
	t.Helper()
	eventually(t, startLimit, "the transactions on "+n.name+" end", func() bool {
		return ask[int](t, n, `SELECT count(*) FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND application_name <> $1 AND state <> 'idle'`, admin) == 0
	})
}

// checkClients fails the test if a client is still connected to the server.
func (n *node) checkClients(t testing.TB) {
	if t.Failed() || n.process == nil || !n.process.running() {
		return
	}
	n.resume()
	var left string
	if !poll(20*time.Second, func() bool {
		left = ask[string](t, n, `SELECT coalesce(string_agg(concat_ws(' ', pid, state, query), '; '), '') FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND application_name <> $1`, admin)
		return left == ""
	}) {
		t.Errorf("clients are still connected to %s: %s", n.name, left)
	}
}
