//go:build linux

// Package localcluster starts a PostgreSQL cluster on loopback whose failovers Patroni
// manages: etcd, and members that each run an agent with its PostgreSQL. HAProxy and PgBouncer
// in front of it are options. It is for trying failovers and for tests.
//
//	localcluster.go   start and stop
//	member.go         the configuration of a member and of etcd
//	front.go          HAProxy and PgBouncer
//	programs.go       the programs, and the account that runs them
//	guard.go          ends every process, even if this one is killed
//
// The programs are those of Debian's packages. It needs Linux, because the guard uses /proc.
package localcluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startLimit bounds the wait for each program.
	startLimit = 60 * time.Second

	// stopLimit bounds the clean shutdown of the members. After that they are killed.
	stopLimit = 15 * time.Second

	user     = "quern" // a superuser
	database = "quern"
)

// Config configures a cluster.
type Config struct {
	// Binaries is the directory of PostgreSQL's programs.
	Binaries string

	// Names are those of the members. The first one becomes the leader. Defaults to ada, ben
	// and cyd.
	Names []string

	// Keep is a directory for the data and logs, which must not exist or be empty. It stays
	// at the end. Defaults to a temporary directory, which is removed.
	Keep string

	// HAProxy puts HAProxy in front of the leader, and PgBouncer puts PgBouncer in front of
	// HAProxy, which it includes. Both default to false.
	HAProxy, PgBouncer bool
}

// Cluster is a running cluster.
type Cluster struct {
	// Dir has the files of each program in a separate directory, with a file named log.
	Dir     string
	Members []*Member
	Etcd    string // its address

	// Addresses of the leader through HAProxy, of all replicas through HAProxy, and of the
	// leader through PgBouncer. Empty without them.
	Leader, Replicas, Pooler string

	cfg      Config
	account  *syscall.Credential
	password string
	guard    *Guard
	agents   []*exec.Cmd
	others   []*exec.Cmd // etcd, HAProxy and PgBouncer
}

// Start starts a cluster, and returns once all members stream from the leader. If it fails, or
// ctx ends, nothing is left.
func Start(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	if len(cfg.Names) == 0 {
		cfg.Names = []string{"ada", "ben", "cyd"}
	}
	if err := Missing(cfg.Binaries, cfg.HAProxy || cfg.PgBouncer, cfg.PgBouncer); err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, password: rand.Text()}
	if c.account, err = Account(); err != nil {
		return nil, err
	}
	if err := c.makeDir(); err != nil {
		return nil, err
	}
	if c.guard, err = NewGuard(c.Dir, cfg.Keep == ""); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if err := c.startEtcd(ctx); err != nil {
		return nil, err
	}
	if err := c.startMembers(ctx); err != nil {
		return nil, err
	}
	if err := c.startFront(ctx); err != nil {
		return nil, err
	}
	return c, c.write("patronictl.yml", fmt.Sprintf("scope: quern\netcd3: {host: %q}\n", c.Etcd))
}

// Stop ends all programs. Members shut down cleanly, if they do within 15 s.
func (c *Cluster) Stop() error {
	for _, agent := range c.agents {
		_ = agent.Process.Signal(syscall.SIGTERM) // it also stops its PostgreSQL
	}
	late := time.AfterFunc(stopLimit, func() {
		for _, agent := range c.agents {
			_ = agent.Process.Kill()
		}
	})
	for _, agent := range c.agents {
		_ = agent.Wait()
	}
	late.Stop()
	for _, other := range c.others {
		_ = other.Process.Signal(syscall.SIGTERM)
	}
	err := c.guard.Close()
	for _, other := range c.others {
		_ = other.Wait()
	}
	return err
}

// URL returns a connection string of the servers at the addresses, such as those of all
// members.
func (c *Cluster) URL(query string, addresses ...string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(user, c.password), Host: strings.Join(addresses, ","), Path: "/" + database, RawQuery: query,
	}).String()
}

// State is how a member describes itself and the others.
type State struct {
	Name     string `json:"name"`
	Role     string `json:"role"` // leader, replica, …
	State    string `json:"state"`
	Timeline int    `json:"timeline"`
}

// States asks one member about all, and the next one if it does not answer.
func (c *Cluster) States(ctx context.Context) (states []State, err error) {
	for _, m := range c.Members {
		var answer struct{ Members []State }
		if err = getJSON(ctx, "http://"+m.REST()+"/cluster", &answer); err == nil {
			return answer.Members, nil
		}
	}
	return nil, err
}

// Postmaster returns the process id of a member's PostgreSQL, or 0.
func (m *Member) Postmaster() int {
	text, _ := os.ReadFile(filepath.Join(m.Data, "postmaster.pid"))
	pid, _ := strconv.Atoi(strings.SplitN(string(text), "\n", 2)[0])
	return pid
}

func (c *Cluster) makeDir() (err error) {
	if c.Dir = c.cfg.Keep; c.Dir == "" {
		c.Dir, err = os.MkdirTemp("", "quern-cluster-*")
	} else if c.Dir, err = filepath.Abs(c.Dir); err == nil {
		err = os.MkdirAll(c.Dir, 0o700)
		if files, _ := os.ReadDir(c.Dir); len(files) > 0 {
			return fmt.Errorf("%s is not empty: name a directory that does not exist", c.Dir)
		}
	}
	if err != nil {
		return err
	}
	return c.own(c.Dir)
}

// own makes the account the owner of a path.
func (c *Cluster) own(path string) error {
	if c.account == nil {
		return nil
	}
	return os.Chown(path, int(c.account.Uid), int(c.account.Gid))
}

// write writes a file below Dir that only the account may read, because most have a password.
func (c *Cluster) write(name, text string) error {
	path := filepath.Join(c.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return c.own(path)
}

// spawn starts a program that runs in a separate directory below Dir, and logs there.
func (c *Cluster) spawn(name, program string, args ...string) (*exec.Cmd, error) {
	dir := filepath.Join(c.Dir, name)
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// No variables of this process, because PG… variables would change the programs' behaviour.
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	// A separate group, because Ctrl-C must not end it before the cluster is shut down.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.account}
	return cmd, cmd.Start()
}

// mkdir creates a directory below Dir.
func (c *Cluster) mkdir(name string) (string, error) {
	dir := filepath.Join(c.Dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return dir, c.own(dir)
}

func (c *Cluster) startEtcd(ctx context.Context) error {
	dir, err := c.mkdir("etcd")
	if err != nil {
		return err
	}
	c.Etcd = loopback(FreePort())
	cmd, err := c.spawn("etcd", "etcd", EtcdArguments(filepath.Join(dir, "data"), c.Etcd, loopback(FreePort()))...)
	if err != nil {
		return err
	}
	c.others = append(c.others, cmd)
	return c.await(ctx, "etcd", "etcd does not answer", func() bool {
		return getJSON(ctx, "http://"+c.Etcd+"/health", &struct{}{}) == nil
	})
}

// startMembers starts the first member, which creates the database, and then the others,
// which copy it.
func (c *Cluster) startMembers(ctx context.Context) error {
	for _, name := range c.cfg.Names {
		home, err := c.mkdir(name)
		if err != nil {
			return err
		}
		m := &Member{
			Name: name, Host: "127.0.0.1", Port: FreePort(), RESTPort: FreePort(), Data: filepath.Join(home, "data"), Etcd: c.Etcd, Binaries: c.cfg.Binaries,
			User: user, Password: c.password, ReplicationUser: "replicator", TTL: MinTTL, Create: database,
		}
		if err := c.write(filepath.Join(name, "patroni.yml"), m.Configuration()); err != nil {
			return err
		}
		agent, err := c.spawn(name, "patroni", filepath.Join(home, "patroni.yml"))
		if err != nil {
			return err
		}
		c.agents, c.Members = append(c.agents, agent), append(c.Members, m)
		if len(c.Members) == 1 {
			if err := c.await(ctx, name, "the first member does not become the leader", func() bool { return c.count(ctx, "leader") == 1 }); err != nil {
				return err
			}
		}
	}
	return c.await(ctx, c.cfg.Names[len(c.cfg.Names)-1], "the replicas do not follow the leader", func() bool {
		return c.count(ctx, "replica") == len(c.Members)-1
	})
}

// count returns how many members have a role and are running.
func (c *Cluster) count(ctx context.Context, role string) (n int) {
	states, _ := c.States(ctx)
	for _, s := range states {
		if s.Role == role && (s.State == "running" || s.State == "streaming") {
			n++
		}
	}
	return n
}

// await waits until done returns true. Its error has the end of a program's log.
func (c *Cluster) await(ctx context.Context, name, failed string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(c.Dir, name, "log"))
			return fmt.Errorf("%s: %w: the end of its log:\n%s", failed, ctx.Err(), log[max(0, len(log)-2000):])
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

var client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func getJSON(ctx context.Context, url string, v any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(v)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
