package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReplicaReport is the result of checking a replica once.
type ReplicaReport struct {
	Name    string // host:port
	Role    string // "standby", "primary", or empty if it does not answer
	Problem string // why a Router would not use it, and a hint; empty if it would
}

// InspectReplicas checks the primary and each of cfg.ReplicaURLs once, and then the servers
// that cfg.ReplicaDiscovery lists, with separate connections and without writing anything.
// The reports are in the order of the URLs and the list. The error concerns discovery, or the
// primary: it does not answer, or its role may not write the row in server_histories without
// which no replica is used.
func InspectReplicas(ctx context.Context, cfg Config) ([]ReplicaReport, error) {
	cfg = cfg.withDefaults()
	replicas, discoveryErr := cfg.inspected(ctx)
	if len(replicas) == 0 {
		return nil, discoveryErr
	}
	conn, _, err := dialOnce(ctx, cfg, settingPrimary, cfg.URL)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	own, _ := look(ctx, conn.PgConn()) // zero if the role lacks the privilege
	primary, err := cfg.tables().historySQL().lookAtPrimaryOn(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("read the primary's history: %w", wrap("LookAtPrimary", err))
	}
	if !primary.writable {
		return nil, cfg.tables().historySQL().historyPrivilege(conn.Config().User)
	}
	var reports []ReplicaReport
	for _, x := range replicas {
		r, err := inspectReplica(ctx, cfg, x, primary, own.system)
		if err != nil {
			r.Problem = err.Error()
		}
		reports = append(reports, r)
	}
	return reports, discoveryErr
}

// inspected is a server that InspectReplicas checks: its setting and its connection string.
type inspected struct{ setting, url string }

func (c Config) inspected(ctx context.Context) (list []inspected, err error) {
	for _, url := range c.ReplicaURLs {
		list = append(list, inspected{settingReplicas, url})
	}
	if c.ReplicaDiscovery == nil {
		return list, nil
	}
	addresses, err := c.discover(ctx)
	if err != nil {
		return list, fmt.Errorf("discover replicas: %w", err)
	}
	for _, address := range addresses {
		url, err := c.urlOf(address)
		if err != nil {
			return list, fmt.Errorf("discover replicas: %w", err)
		}
		list = append(list, inspected{settingDiscovery, url})
	}
	return list, nil
}

func inspectReplica(ctx context.Context, cfg Config, x inspected, primary primaryLook, system int64) (r ReplicaReport, err error) {
	conn, name, err := dialOnce(ctx, cfg, x.setting, x.url)
	r.Name = name
	if err != nil {
		return r, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if theirs, err := look(ctx, conn.PgConn()); err == nil && theirs.system != system && system != 0 {
		return r, errOtherCluster
	}
	l, err := cfg.tables().historySQL().lookAtReplicaOn(ctx, conn)
	if err != nil {
		return r, wrap("LookAtReplica", err)
	}
	r.Role = "standby"
	if !l.standby {
		r.Role = "primary"
	}
	// Before a Router has run, the primary has no row for a replica to show.
	if primary.shown || !l.standby {
		r.Problem = l.problem(primary.history)
	}
	return r, nil
}

// dialOnce opens one connection to the server of a setting.
func dialOnce(ctx context.Context, cfg Config, setting, url string) (conn *pgx.Conn, name string, err error) {
	pc, err := cfg.poolConfigOf(setting, url)
	if err != nil {
		return nil, setting, err
	}
	name = fmt.Sprintf("%s:%d", pc.ConnConfig.Host, pc.ConnConfig.Port)
	ctx, cancel := context.WithTimeout(ctx, pc.ConnConfig.ConnectTimeout+time.Second)
	defer cancel()
	conn, err = pgx.ConnectConfig(ctx, pc.ConnConfig)
	if err != nil {
		return nil, name, connectErrorOf(pc, err)
	}
	return conn, name, nil
}
