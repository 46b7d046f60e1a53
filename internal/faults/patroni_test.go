//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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

// patroni is a cluster whose failovers Patroni manages: one etcd and three
// members, each an agent with its PostgreSQL. The programs are from Debian's
// packages patroni and etcd-server, and use loopback.
type patroni struct {
	lab     *lab
	network *network // nil for loopback
	etcd    string   // its address
	members []*member
}

// member is one node of the cluster. Its agent starts PostgreSQL in another
// process session, so PostgreSQL survives the agent.
type member struct {
	*node
	home  string // working directory of the agent, with PostgreSQL's data
	agent *process
	rest  int // the port of the agent's REST API
}

type patroniConfig struct {
	network     *network // with a host for etcd and for each member; nil for loopback
	synchronous bool
	last        string // tags of the last member, such as nofailover: true
}

// patroniTTL is how long a leader's key survives its agent.
const patroniTTL = localcluster.MinTTL

// newPatroni starts a cluster. It skips the test if Patroni is not installed.
func newPatroni(t testing.TB, cfg patroniConfig) *patroni {
	t.Helper()
	l := useLab(t)
	if err := localcluster.Missing(l.bin, false, false); err != nil {
		t.Skip(err)
	}
	p := &patroni{lab: l, network: cfg.network}
	dir := l.folder(t, l.dir, "patroni")
	p.guard(t, dir)
	p.startEtcd(t, dir)
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range p.members {
				said := m.agentSaid()
				t.Logf("the end of the log of the agent of %s:\n%s", m.name, said[max(0, len(said)-3000):])
			}
		}
	})
	names := []string{"ada", "ben", "cyd"}
	for i, name := range names {
		m := &member{rest: localcluster.FreePort(), home: l.folder(t, dir, name)}
		m.node = &node{lab: l, name: name, dir: filepath.Join(m.home, "data"), port: localcluster.FreePort()}
		if err := l.run("/bin/cp", "-Rp", l.template(), m.dir); err != nil {
			t.Fatal(err)
		}
		m.join(t, cfg.network)
		m.write(t, "postgresql.auto.conf", "") // Patroni's settings must be in force
		tags := ""
		if i == 2 {
			tags = cfg.last
		}
		if err := os.WriteFile(filepath.Join(m.home, "patroni.yml"), []byte(p.settings(cfg, m, tags)), 0o644); err != nil {
			t.Fatal(err)
		}
		p.members = append(p.members, m)
		m.startAgent(t)
		if i == 0 { // it finds no leader and becomes the leader
			eventually(t, startLimit, "the first member is the leader", func() bool { return p.leader() == m })
			// Each member replicates as a role with its own name.
			for _, name := range names {
				if err := m.exec(t.Context(), database, fmt.Sprintf("CREATE ROLE %s REPLICATION LOGIN PASSWORD '%s'", name, l.password)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	p.waitForStandbys(t, cfg.synchronous)
	return p
}

// folder creates a directory in which PostgreSQL's account may write.
func (l *lab) folder(t testing.TB, in, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp(in, name+"-*")
	if err == nil && l.credential != nil {
		err = os.Chown(dir, int(l.credential.Uid), int(l.credential.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// guard ends all processes that run below dir and removes dir, at the end of
// the test or when the test process is killed. PostgreSQL is not a child of
// that process, so it gets no parent-death signal.
func (p *patroni) guard(t testing.TB, dir string) {
	t.Helper()
	g, err := localcluster.NewGuard(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range p.members {
			m.removeSharedMemory()
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// spawnIn starts a program that runs in dir and logs there, on a host or on
// loopback.
func (l *lab) spawnIn(t testing.TB, h *host, dir, path string, args ...string) *process {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := l.command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, file, file
	started, err := spawnOn(h, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return started
}

func (p *patroni) startEtcd(t testing.TB, base string) {
	t.Helper()
	dir := p.lab.folder(t, base, "etcd")
	h := p.network.named("etcd")
	p.etcd = fmt.Sprintf("%s:%d", h.ip(), localcluster.FreePort())
	peer := fmt.Sprintf("%s:%d", h.ip(), localcluster.FreePort())
	p.lab.spawnIn(t, h, dir, "etcd", localcluster.EtcdArguments(filepath.Join(dir, "data"), p.etcd, peer)...)
	eventually(t, startLimit, "etcd is healthy", func() bool { return getStatus("http://"+p.etcd+"/health") == http.StatusOK })
}

// settings returns a member's configuration. Its data directory is a copy of
// the template, so nothing has to be copied from the leader.
func (p *patroni) settings(cfg patroniConfig, m *member, tags string) string {
	return (&localcluster.Member{
		Name: m.name, Host: m.ip(), Port: m.port, RESTPort: m.rest, Data: m.dir, Sockets: m.socketDir(), Etcd: p.etcd, Binaries: p.lab.bin,
		User: user, Password: p.lab.password, ReplicationUser: m.name, Synchronous: cfg.synchronous, TTL: patroniTTL, Tags: tags,
	}).Configuration()
}

func (m *member) startAgent(t testing.TB) {
	t.Helper()
	m.agent = m.lab.spawnIn(t, m.host, m.home, "patroni", filepath.Join(m.home, "patroni.yml"))
}

func (m *member) agentSaid() string {
	text, _ := os.ReadFile(filepath.Join(m.home, "log"))
	return string(text)
}

// postmaster returns the pid of the member's PostgreSQL, or 0.
func (m *member) postmaster() int {
	text, _ := os.ReadFile(filepath.Join(m.dir, "postmaster.pid"))
	pid, _ := strconv.Atoi(strings.SplitN(string(text), "\n", 2)[0])
	return pid
}

// killAgent ends the agent like a crash. PostgreSQL keeps running.
func (m *member) killAgent() {
	m.agent.kill()
}

// killPostgres ends the postmaster like a crash.
func (m *member) killPostgres(t testing.TB) {
	t.Helper()
	if err := syscall.Kill(m.postmaster(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// stopReceiving keeps the member from receiving more WAL from the leader.
func (m *member) stopReceiving(t testing.TB, leader *member) {
	t.Helper()
	if err := leader.exec(t.Context(), database, "ALTER ROLE "+m.name+" NOLOGIN"); err != nil {
		t.Fatal(err)
	}
	eventually(t, startLimit, "nothing is sent to "+m.name, func() bool {
		return ask[int](t, leader.node, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication WHERE usename = $1", m.name) == 0
	})
}

var restClient = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func getStatus(url string) int {
	response, err := restClient.Get(url)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// leader returns the member that has the leader's key and accepts writes, or
// nil.
func (p *patroni) leader() *member {
	for _, m := range p.members {
		if m.agent.running() && getStatus(fmt.Sprintf("http://%s:%d/primary", m.ip(), m.rest)) == http.StatusOK &&
			p.ask(m, "SELECT pg_is_in_recovery()::int") == 0 { // its agent reports it before it is promoted
			return m
		}
	}
	return nil
}

// others returns the members other than m.
func (p *patroni) others(m *member) (list []*member) {
	for _, other := range p.members {
		if other != m {
			list = append(list, other)
		}
	}
	return list
}

// waitForStandbys returns when all other living members stream from the leader.
func (p *patroni) waitForStandbys(t testing.TB, synchronous bool) {
	t.Helper()
	alive := 0
	for _, m := range p.members {
		if m.agent.running() {
			alive++
		}
	}
	eventually(t, 2*startLimit, "the standbys stream from the leader", func() bool {
		leader := p.leader()
		return leader != nil && p.ask(leader, `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'`) == alive-1 &&
			(!synchronous || slices.ContainsFunc(p.members, func(m *member) bool {
				return getStatus(fmt.Sprintf("http://%s:%d/synchronous", m.ip(), m.rest)) == http.StatusOK
			}))
	})
}

// ask returns a number that a statement selects, or -1 if it fails.
func (p *patroni) ask(m *member, sql string) int {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	conn, err := m.dial(ctx, database)
	if err != nil {
		return -1
	}
	defer conn.Close(ctx)
	n := -1
	_ = conn.QueryRow(ctx, sql).Scan(&n)
	return n
}

// switchOver asks the leader's agent for a switchover.
func (p *patroni) switchOver(t testing.TB) {
	t.Helper()
	leader := p.leader()
	body, _ := json.Marshal(map[string]string{"leader": leader.name})
	response, err := (&http.Client{Timeout: startLimit}).Post(fmt.Sprintf("http://%s:%d/switchover", leader.ip(), leader.rest), "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the switchover is refused: %s", response.Status)
	}
}

// expire removes the leader's key, as happens at the end of its time to live.
func (p *patroni) expire(t testing.TB) {
	t.Helper()
	body, _ := json.Marshal(map[string][]byte{"key": []byte("/service/quern/leader")})
	response, err := restClient.Post("http://"+p.etcd+"/v3/kv/deleterange", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

// promotion waits until one of the members accepts writes, and returns it with
// the time. It polls without a pause, because durations are measured from that
// time.
func (p *patroni) promotion(t testing.TB, members []*member) (*member, time.Time) {
	t.Helper()
	conns := map[*member]*pgx.Conn{}
	for _, m := range members {
		conn, err := m.dial(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		conns[m] = conn
	}
	var promoted *member
	eventually(t, 3*startLimit, "a standby is promoted", func() bool {
		for m, conn := range conns {
			standby := true
			if err := conn.QueryRow(t.Context(), "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
				t.Errorf("look at %s: %v", m.name, err)
			}
			if !standby {
				promoted = m
			}
		}
		return promoted != nil
	})
	return promoted, time.Now()
}

// url returns a URL with all members, the leader first. A client that stays
// with the first one would stay with the leader.
func (p *patroni) url() string {
	leader := p.leader()
	nodes := []*node{leader.node}
	for _, m := range p.others(leader) {
		nodes = append(nodes, m.node)
	}
	return hostsURL(nodes...)
}
