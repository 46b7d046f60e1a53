//go:build linux

package localcluster

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"
)

// MinTTL is the least time to live of a leader's key that Patroni accepts. It is how long a
// leader whose agent was killed keeps its role.
const MinTTL = 20 * time.Second

// Member is a node of a cluster: an agent with its PostgreSQL.
type Member struct {
	Name     string
	Host     string // the address at which PostgreSQL and the agent listen
	Port     int    // of PostgreSQL
	RESTPort int    // of the agent
	Data     string // directory
	Sockets  string // directory of PostgreSQL's Unix socket; empty for none
	Etcd     string // its address
	Binaries string // directory of PostgreSQL's programs

	User, Password  string // a superuser
	ReplicationUser string // has the same password
	Synchronous     bool   // COMMITs wait for a standby
	TTL             time.Duration
	Tags            string // such as "nofailover: true"

	// Create is the database that the first member creates. If it is empty, the data directory
	// exists.
	Create string
}

// REST returns the address of the agent.
func (m *Member) REST() string { return net.JoinHostPort(m.Host, strconv.Itoa(m.RESTPort)) }

// Address returns the address of PostgreSQL.
func (m *Member) Address() string { return net.JoinHostPort(m.Host, strconv.Itoa(m.Port)) }

// Configuration returns the agent's configuration file.
//
// Dynamic shared memory is in files, so that a server that is killed leaves nothing outside
// its directory. The data of a local cluster is lost with its machine in any case, so nothing
// is flushed to disk.
func (m *Member) Configuration() string {
	account := func(name string) string { return fmt.Sprintf("{username: %s, password: %s}", name, m.Password) }
	text := fmt.Sprintf(`
scope: quern
name: %[1]s
restapi: {listen: "%[2]s:%[3]d", connect_address: "%[2]s:%[3]d"}
etcd3: {host: "%[4]s"}
bootstrap:
  dcs:
    ttl: %[5]d
    loop_wait: 1
    retry_timeout: 5
    synchronous_mode: %[6]t
    postgresql: {use_pg_rewind: true}
`, m.Name, m.Host, m.RESTPort, m.Etcd, int(m.TTL.Seconds()), m.Synchronous)
	if m.Create != "" {
		text += fmt.Sprintf(`  initdb: [encoding: UTF8, locale: C, no-sync]
  post_bootstrap: %s %s --maintenance-db
`, filepath.Join(m.Binaries, "createdb"), m.Create)
	}
	text += fmt.Sprintf(`postgresql:
  listen: "%[1]s:%[2]d"
  connect_address: "%[1]s:%[2]d"
  data_dir: %[3]s
  bin_dir: %[4]s
  authentication: {superuser: %[5]s, rewind: %[5]s, replication: %[6]s}
  parameters: {unix_socket_directories: "%[7]s", shared_buffers: 16MB, dynamic_shared_memory_type: mmap, fsync: "off", max_connections: 100,
    wal_keep_size: 256MB, max_wal_size: 256MB, wal_retrieve_retry_interval: 200ms, timezone: UTC, log_timezone: UTC}
`, m.Host, m.Port, m.Data, m.Binaries, account(m.User), account(m.ReplicationUser), m.Sockets)
	if m.Create != "" {
		text += `  basebackup: [checkpoint: fast, no-sync]
  pg_hba: ["host all,replication all 127.0.0.1/32 scram-sha-256"]
`
	}
	return text + fmt.Sprintf("watchdog: {mode: \"off\"}\ntags: {%s}\n", m.Tags)
}

// EtcdArguments returns the arguments of an etcd that is a cluster of one. Clients and peers
// have an address each.
func EtcdArguments(data, clients, peers string) []string {
	clients, peers = "http://"+clients, "http://"+peers
	return []string{
		"--name=quern", "--data-dir=" + data, "--log-level=error", "--logger=zap",
		"--listen-client-urls=" + clients, "--advertise-client-urls=" + clients, "--listen-peer-urls=" + peers,
		"--initial-advertise-peer-urls=" + peers, "--initial-cluster=quern=" + peers,
	}
}
