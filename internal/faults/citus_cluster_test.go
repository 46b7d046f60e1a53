//go:build linux

package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quern"
	"quern/postgres/migrate"
)

// citusVariable names a coordinator of Citus whose nodes run on this machine. The tests make
// a new database on each node, kill nodes, and start them again with pg_ctl.
const citusVariable = "CITUS_TEST_URL"

// citusNode is a server of a Citus cluster.
type citusNode struct {
	url *url.URL // of the test's database
	dir string   // its data directory
	bin string   // where pg_ctl is
	uid uint32   // its account
}

// citusSchema is a schema with the script that places its tables on Citus.
type citusSchema struct {
	migrations fs.FS
	place      string
}

var (
	serviceOnCitus  = citusSchema{quern.Migrations(), "../../deploy/citus.sql"}
	bookshopOnCitus = citusSchema{os.DirFS("../../examples/bookshop/migrations"), "../../examples/bookshop/citus.sql"}
)

// citusCluster is a database on a Citus cluster. The coordinator reaches its workers through
// proxies.
type citusCluster struct {
	coordinator *citusNode
	workers     []*citusNode
	between     []*proxy // in front of each worker
}

// newCitus makes a database with the schema on the cluster that the variable names. Without
// it, the test is skipped, because neither Debian nor the module proxy has Citus.
func newCitus(t *testing.T, schema citusSchema) *citusCluster {
	t.Helper()
	given := os.Getenv(citusVariable)
	if given == "" {
		t.Skipf("%s names no coordinator of Citus, so nothing about Citus was tested", citusVariable)
	}
	base, err := url.Parse(given)
	if err != nil {
		t.Fatal(err)
	}
	c, name := &citusCluster{}, "quern_"+strings.ToLower(rand.Text()[:10])
	if conninfo := askURL[string](t, base, "SHOW citus.node_conninfo"); !strings.Contains(conninfo, "sslmode=disable") {
		t.Fatalf("citus.node_conninfo is %q: set it to 'sslmode=disable' on all nodes, because the tests read what is sent", conninfo)
	}
	// The proxies come first, so that they close after the databases, whose background workers
	// use them, are dropped.
	addresses := askURL[[]string](t, base, "SELECT array_agg(nodename || ':' || nodeport) FROM pg_dist_node WHERE groupid > 0 AND noderole = 'primary'")
	for _, address := range addresses {
		c.between = append(c.between, proxyTo(t, address))
	}
	add := func(base *url.URL) *citusNode {
		execURL(t, base, "CREATE DATABASE "+name)
		t.Cleanup(func() {
			var err error
			// A background worker that is just starting is not ended.
			if !poll(20*time.Second, func() bool {
				err = tryURL(context.Background(), base, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
				return err == nil
			}) {
				t.Errorf("drop %s: %v", name, err)
			}
		})
		own := *base
		own.Path = "/" + name
		execURL(t, &own, "CREATE EXTENSION citus")
		n := &citusNode{url: &own, dir: askURL[string](t, &own, "SHOW data_directory")}
		n.find(t)
		return n
	}
	c.coordinator = add(base)
	for _, address := range addresses {
		worker := *base
		worker.Host = address
		c.workers = append(c.workers, add(&worker))
	}
	execURL(t, c.coordinator.url, fmt.Sprintf("SELECT citus_set_coordinator_host('%s', %s)", base.Hostname(), base.Port()))
	for _, p := range c.between {
		host, port, _ := net.SplitHostPort(p.address())
		execURL(t, c.coordinator.url, fmt.Sprintf("SELECT citus_add_node('%s', %s)", host, port))
	}
	m, err := migrate.New(migrate.Config{URL: c.coordinator.url.String(), FS: schema.migrations, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.place(t, schema)
	return c
}

// place runs the script of the schema.
func (c *citusCluster) place(t *testing.T, schema citusSchema) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "psql", "--no-psqlrc", "-q", "-f", schema.place, c.coordinator.url.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", schema.place, err, out)
	}
}

// find looks at the running server.
func (n *citusNode) find(t *testing.T) {
	t.Helper()
	pid := n.pid(t)
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatalf("the node at %s does not run on this machine: %v", n.url.Host, err)
	}
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	n.bin, n.uid = filepath.Dir(exe), info.Sys().(*syscall.Stat_t).Uid
}

func (n *citusNode) pid(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	pid, err := strconv.Atoi(string(first))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// kill ends the server and its backends as a crash does.
func (n *citusNode) kill(t *testing.T) {
	p := &process{pid: n.pid(t)}
	// First the postmaster stops, so that it starts no more children.
	_ = syscall.Kill(p.pid, syscall.SIGSTOP)
	if !poll(20*time.Second, func() bool { return stopped(p.pid) }) {
		t.Errorf("the node at %s does not stop", n.url.Host)
	}
	all := p.family()
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	// Until their parent has waited for them, the next server would take them for running
	// ones.
	if !poll(20*time.Second, func() bool {
		return !slices.ContainsFunc(all, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
	}) {
		t.Errorf("the node at %s survived SIGKILL", n.url.Host)
	}
}

// start starts the server again, and returns when it accepts connections.
func (n *citusNode) start() error {
	cmd := exec.Command(filepath.Join(n.bin, "pg_ctl"), "-D", n.dir, "-w", "-l", filepath.Join(n.dir, "restarted.log"), "start")
	cmd.Dir = "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: n.uid, Gid: n.uid}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("start the node at %s: %w\n%s", n.url.Host, err, out)
	}
	return nil
}

// tryURL executes a statement on a new connection.
func tryURL(ctx context.Context, u *url.URL, sql string) error {
	return withURL(ctx, u, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

// execURL is tryURL, also for clean-up, when the test's context has ended.
func execURL(t *testing.T, u *url.URL, sql string) {
	t.Helper()
	if err := tryURL(context.WithoutCancel(t.Context()), u, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// askURL returns the only value that a statement selects.
func askURL[T any](t *testing.T, u *url.URL, sql string, args ...any) (value T) {
	t.Helper()
	err := withURL(t.Context(), u, func(conn *pgx.Conn) error { return conn.QueryRow(t.Context(), sql, args...).Scan(&value) })
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func withURL(ctx context.Context, u *url.URL, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return f(conn)
}
