package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// Host is the state of one host of a connection string, with any conflict between it and the
// other hosts.
type Host struct {
	Name     string // host:port
	System   int64  // the system identifier, which all servers of a cluster share
	Timeline int64  // 0 for a standby

	// Problem is why the host must not be written to, and how to fix it. It is empty if
	// there is none.
	Problem string

	// Err is why the host could not be checked. The other fields except Name are then
	// empty.
	Err error
}

// LookAtHosts checks each host of cfg.URL once. It returns none if the URL names one host
// or if a pooler is configured, because hosts are not watched then.
func LookAtHosts(ctx context.Context, cfg Config) ([]Host, error) {
	cfg = cfg.withDefaults()
	pc, err := cfg.poolConfig()
	if err != nil {
		return nil, err
	}
	h := newHosts(cfg, pc)
	if h == nil {
		return nil, nil
	}
	h.lookAtAll(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.report(), nil
}

// report compares the hosts with each other. Without a pool, no primary is known yet. The
// first host that accepts writes decides the cluster, as it does for the pool.
func (h *hosts) report() []Host {
	var first, highest serverState
	for _, x := range h.all {
		if first.system == 0 || first.timeline == 0 && x.state.timeline > 0 {
			first = x.state
		}
	}
	for _, x := range h.all {
		if x.state.system == first.system && x.state.timeline > highest.timeline {
			highest = x.state
		}
	}
	var list []Host
	for _, x := range h.all {
		entry := Host{Name: x.name, System: x.state.system, Timeline: x.state.timeline, Err: explainLook(x.err)}
		problem := noProblem
		switch {
		case x.err != nil:
		case x.state.system != first.system:
			problem = otherCluster
		case x.state.timeline == 0:
		case x.state.timeline < highest.timeline:
			problem = olderTimeline
		case x.state.started != highest.started:
			problem = equalTimeline
		}
		if problem != noProblem {
			entry.Problem = problem.describe(x.state, first.system, highest.timeline)
		}
		list = append(list, entry)
	}
	return list
}

// states returns the last answer of each host.
func (h *hosts) states() (list []HostState) {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.all {
		list = append(list, HostState{Name: x.name, Answers: x.state.system != 0, Timeline: x.state.timeline})
	}
	return list
}

// explainLook adds a hint to the error of a check.
func explainLook(err error) error {
	refused := (*pgconn.PgError)(nil)
	if errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege {
		return fmt.Errorf("the host cannot be watched: %s: GRANT EXECUTE ON FUNCTION pg_control_system() TO the role of DATABASE_URL", oneLine(err))
	}
	if err != nil {
		return errors.New(oneLine(err))
	}
	return nil
}
