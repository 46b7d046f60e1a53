package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReplicaReport is the result of checking a server of ReplicaURLs once.
type ReplicaReport struct {
	Name    string // host:port
	Role    string // "standby", "primary", or empty if it does not answer
	Problem string // why a Router would not use it, and a hint; empty if it would
}

// InspectReplicas checks the primary and each of cfg.ReplicaURLs once, with separate
// connections and without writing anything. The reports are in the order of the URLs. The
// error concerns the primary: it does not answer, or its role may not write the row in
// server_histories without which no replica is used.
func InspectReplicas(ctx context.Context, cfg Config) ([]ReplicaReport, error) {
	cfg = cfg.withDefaults()
	if len(cfg.ReplicaURLs) == 0 {
		return nil, nil
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
	for _, url := range cfg.ReplicaURLs {
		r, err := inspectReplica(ctx, cfg, url, primary, own.system)
		if err != nil {
			r.Problem = err.Error()
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func inspectReplica(ctx context.Context, cfg Config, url string, primary primaryLook, system int64) (r ReplicaReport, err error) {
	conn, name, err := dialOnce(ctx, cfg, settingReplicas, url)
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
