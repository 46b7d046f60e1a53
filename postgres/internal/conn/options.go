package conn

import (
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/dsn"
)

// Options are the settings of the connections to one server, with the runtime's
// defaults filled in.
type Options struct {
	Setting string // its name, for errors and logs
	URL     string

	// ApplicationName is the application_name of the sessions, unless the URL has one.
	ApplicationName string

	MaxConns, MinConns           int32
	MaxConnLifetime, MaxConnIdle time.Duration

	// ConnectTimeout bounds an attempt to connect to one address. A connect_timeout in
	// the URL takes precedence.
	ConnectTimeout time.Duration

	// Pooled is true if a pooler assigns another server connection to each transaction.
	Pooled bool

	// Types are the names of those of the project's types whose arrays statements use.
	Types []string

	Logger *slog.Logger
}

// PoolConfig parses the connection string. Connections made with the result's
// ConnConfig, without a Pool, also detect a dead network and have the same settings as
// those of a Pool, except for those of PrepareSession.
func (o Options) PoolConfig() (*pgxpool.Config, error) {
	pc, err := dsn.Parse(o.Setting, o.URL)
	if err != nil {
		return nil, err
	}
	pc.MaxConns = o.MaxConns
	pc.MinConns = o.MinConns
	pc.MaxConnLifetime = o.MaxConnLifetime
	pc.MaxConnLifetimeJitter = o.MaxConnLifetime / 10
	pc.MaxConnIdleTime = o.MaxConnIdle
	pc.HealthCheckPeriod = min(pc.HealthCheckPeriod, max(o.MaxConnIdle/2, time.Second))
	// pgxpool's default has no bound.
	pc.PingTimeout = pingTimeout
	cc := pc.ConnConfig
	if cc.ConnectTimeout == 0 { // neither in the URL nor in PGCONNECT_TIMEOUT
		cc.ConnectTimeout = o.ConnectTimeout
	}
	cc.LookupFunc = lookup(cc.ConnectTimeout)
	cc.DialFunc = dialer.DialContext
	if cc.RuntimeParams["application_name"] == "" {
		cc.RuntimeParams["application_name"] = o.ApplicationName
	}
	if err := pinStartup(o.Setting, cc.RuntimeParams); err != nil {
		return nil, err
	}
	if o.Pooled {
		behindPooler(cc)
	} else {
		cc.DescriptionCacheCapacity = 0 // pgx allocates all of it, 35 kB for each connection
	}
	return pc, nil
}
