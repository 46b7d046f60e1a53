package postgres

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Snapshot is the state of a Router at one moment.
type Snapshot struct {
	// Servers are the primary and then the replicas, in the order of Config.ReplicaURLs.
	// Those of Config.ReplicaDiscovery follow. They come and go; the others never change.
	Servers []ServerState

	// Hosts are those of Config.URL, if it names several and they are watched. Their
	// number, names and order never change.
	Hosts []HostState

	// CommitsWaiting counts the COMMITs that still wait for a synchronous standby after
	// their callers have given up.
	CommitsWaiting int
}

// ServerState is the state of one server's pool.
type ServerState struct {
	Name    string // "primary", or the replica's host:port
	Replica bool

	// Up is true for the primary, and for a replica that answers and has the primary's
	// history.
	Up bool

	// Primary is true for the primary, and for a replica that is the primary now, because all
	// nodes may be listed as replicas.
	Primary bool

	// Lag is how far a replica is behind the primary.
	Lag time.Duration

	// Timeline is the timeline of the primary, or the one that the replica has shown last. It
	// is 0 while it is unknown.
	Timeline int64

	// Problem is why a replica is not used. It is empty for a replica that is used, and for
	// the primary.
	Problem string

	Pool    *pgxpool.Stat
	Classes []ClassState // DefaultClass first, the others by name
}

// ClassState is how the statements of one class use a pool.
type ClassState struct {
	Name    string
	Limit   int    // connections that the class may use at a time
	Used    int    // connections in use by the class
	Waiting int    // calls waiting for its share
	Refused uint64 // calls that got no connection, since the start
}

// HostState is how one host of Config.URL answered last.
type HostState struct {
	Name     string // host:port
	Answers  bool
	Timeline int64 // 0 for a standby
}

// Snapshot returns the state of the pools, replicas and hosts without a query.
func (r *Router) Snapshot() Snapshot {
	s := Snapshot{Hosts: r.hosts.states(), CommitsWaiting: r.conns.CommitsWaiting()}
	now, _ := r.replicas.histories.current()
	s.Servers = append(s.Servers, ServerState{
		Name: primaryName, Up: true, Primary: true, Timeline: int64(now.timeline), Pool: r.primary.Stat(), Classes: r.classes.snapshot(),
	})
	for _, x := range r.replicas.list() {
		state := ServerState{
			Name: x.name, Replica: true, Up: r.replicas.up(x), Primary: r.replicas.isPrimary(x), Lag: r.replicas.lag(x), Timeline: x.timeline(),
			Pool: x.pool.Stat(), Classes: x.classes.snapshot(),
		}
		if !state.Up {
			state.Problem = x.problemNow()
		}
		s.Servers = append(s.Servers, state)
	}
	return s
}
