//go:build linux

package localcluster

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// startFront starts HAProxy and PgBouncer, if they are wanted.
func (c *Cluster) startFront(ctx context.Context) error {
	if c.cfg.HAProxy || c.cfg.PgBouncer {
		c.Leader, c.Replicas = loopback(FreePort()), loopback(FreePort())
		if err := c.startProgram(ctx, "haproxy", "haproxy.cfg", c.haproxy(), c.Leader, "-db", "-f"); err != nil {
			return err
		}
	}
	if c.cfg.PgBouncer {
		c.Pooler = loopback(FreePort())
		return c.startProgram(ctx, "pgbouncer", "pgbouncer.ini", c.pgbouncer(), c.Pooler)
	}
	return nil
}

// startProgram starts a program with its configuration as the last argument, and waits until
// it listens.
func (c *Cluster) startProgram(ctx context.Context, name, file, text, address string, args ...string) error {
	dir, err := c.mkdir(name)
	if err != nil {
		return err
	}
	if err := c.write(filepath.Join(name, file), text); err != nil {
		return err
	}
	if name == "pgbouncer" {
		if err := c.write(filepath.Join(name, "users"), fmt.Sprintf("%q %q\n", user, c.password)); err != nil {
			return err
		}
	}
	cmd, err := c.spawn(name, name, append(args, filepath.Join(dir, file))...)
	if err != nil {
		return err
	}
	c.others = append(c.others, cmd)
	return c.await(ctx, name, name+" does not listen", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// haproxy returns a configuration that follows the leader by the health checks of Patroni.
// Connections to a server that is no longer the leader are closed.
func (c *Cluster) haproxy() string {
	text := `defaults
  mode tcp
  timeout connect 2s
  timeout client 30m
  timeout server 30m
`
	for _, way := range []struct{ name, address, check string }{{"leader", c.Leader, "/primary"}, {"replicas", c.Replicas, "/replica"}} {
		text += fmt.Sprintf("listen %s\n  bind %s\n  option httpchk GET %s\n  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions\n", way.name, way.address, way.check)
		for _, m := range c.Members {
			text += fmt.Sprintf("  server %s %s check port %d\n", m.Name, m.Address(), m.RESTPort)
		}
	}
	return text
}

// pgbouncer returns a configuration that pools transactions in front of HAProxy. PgBouncer
// itself cannot find the leader.
func (c *Cluster) pgbouncer() string {
	host, port, _ := strings.Cut(c.Leader, ":")
	_, listen, _ := strings.Cut(c.Pooler, ":")
	return fmt.Sprintf(`[databases]
%[1]s = host=%[2]s port=%[3]s dbname=%[1]s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[4]s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %[5]s
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 20
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
`, database, host, port, listen, filepath.Join(c.Dir, "pgbouncer", "users"))
}
