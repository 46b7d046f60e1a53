//go:build linux

// Command cluster starts a PostgreSQL cluster under Patroni on this machine, prints how to
// use it, and stops it on Ctrl-C. `make cluster` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"

	"quern/internal/localcluster"
	"quern/localpg"
)

func main() {
	var cfg localcluster.Config
	flag.BoolVar(&cfg.HAProxy, "haproxy", false, "start HAProxy in front of the leader and of the replicas")
	flag.BoolVar(&cfg.PgBouncer, "pgbouncer", false, "start PgBouncer in front of HAProxy, with pool_mode=transaction")
	flag.StringVar(&cfg.Keep, "keep", "", "`directory` for data and logs that stays at the end; without it, nothing stays")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "cluster: unexpected argument:", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, cfg, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run starts a cluster and stops it when ctx ends.
func run(ctx context.Context, cfg localcluster.Config, out io.Writer) (err error) {
	if cfg.Binaries, err = localpg.Binaries(ctx, func(line string) { fmt.Fprintln(out, line) }); err != nil {
		return err
	}
	fmt.Fprintln(out, "Starting etcd and three members, about ten seconds.")
	c, err := localcluster.Start(ctx, cfg)
	if ctx.Err() != nil {
		return nil // Ctrl-C, and nothing is left
	}
	if err != nil {
		return err
	}
	explain(ctx, c, out)
	<-ctx.Done()
	fmt.Fprintln(out, "\nStopping.")
	return c.Stop()
}

// explain prints the members and what to do with them.
func explain(ctx context.Context, c *localcluster.Cluster, out io.Writer) {
	roles := map[string]string{}
	states, _ := c.States(ctx)
	for _, s := range states {
		roles[s.Name] = s.Role
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "Member\tRole\tPostgreSQL\tPatroni\tPostmaster")
	var addresses, rest []string
	var leader *localcluster.Member
	for _, m := range c.Members {
		fmt.Fprintf(w, "%s\t%s\t%s\thttp://%s/cluster\t%d\n", m.Name, roles[m.Name], m.Address(), m.REST(), m.Postmaster())
		addresses, rest = append(addresses, m.Address()), append(rest, "http://"+m.REST())
		if roles[m.Name] == "leader" {
			leader = m
		}
	}
	_ = w.Flush()
	discovery := fmt.Sprintf("REPLICA_DISCOVERY='%s'", strings.Join(rest, " "))
	fmt.Fprintf(out, `
Serve on it, in another terminal:

  make build
  DATABASE_URL='%s' \
    %s bin/server
`, c.URL("sslmode=disable&target_session_attrs=read-write", addresses...), discovery)
	if c.Leader != "" {
		fmt.Fprintf(out, `
Through HAProxy, which follows the leader (all replicas are at %s):

  DATABASE_URL='%s' \
    %s bin/server
`, c.Replicas, c.URL("sslmode=disable", c.Leader), discovery)
	}
	if c.Pooler != "" {
		fmt.Fprintf(out, `
Through PgBouncer and HAProxy. Migrations need a session, so apply them first:

  DATABASE_URL='%s' bin/server migrate up
  DATABASE_URL='%s' POOLER=transaction bin/server
`, c.URL("sslmode=disable", c.Leader), c.URL("sslmode=disable", c.Pooler))
	}
	control := "patronictl -c " + filepath.Join(c.Dir, "patronictl.yml")
	fmt.Fprintf(out, `
The console is at http://localhost:8080/ then: Overview shows the servers, their timelines and lags, and what happened.

Make a failover happen:

  %s switchover --force          the leader hands over
  %s failover --force --candidate %s
  kill -9 %-8d                   the leader's PostgreSQL crashes, and its agent starts it again
  %s list                        shows the members

Logs and data are in %s. Ctrl-C stops the cluster`, control, control, otherThan(leader, c), postmaster(leader), control, c.Dir)
	if strings.HasPrefix(filepath.Base(c.Dir), "quern-cluster-") {
		fmt.Fprint(out, " and removes them")
	}
	fmt.Fprintln(out, ".")
}

// otherThan returns the name of a member that is not the leader.
func otherThan(leader *localcluster.Member, c *localcluster.Cluster) string {
	for _, m := range c.Members {
		if m != leader {
			return m.Name
		}
	}
	return ""
}

func postmaster(m *localcluster.Member) int {
	if m == nil {
		return 0
	}
	return m.Postmaster()
}
