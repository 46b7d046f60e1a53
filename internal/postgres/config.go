package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says how to talk to PostgreSQL. Its zero value with a URL is ready
// for use. Durations of zero mean the default.
type Config struct {
	// URL names the server: a URL or libpq's keyword form. What it leaves out
	// comes from libpq's environment variables (PGHOST, …). Defaults to those.
	URL string

	// ReplicaURLs name the replicas, each like URL. Defaults to none.
	ReplicaURLs []string

	// ReplicaMaxLag is how far behind the primary a replica may be and still
	// answer. Defaults to 10s.
	ReplicaMaxLag time.Duration

	// Statements are the generated registry, db.Statements. Defaults to none:
	// every statement then has the default policy.
	Statements []Statement

	// MaxConns is the size of the pool. Defaults to 2 × the cores, at least 4.
	MaxConns int32

	// MinConns are kept open when idle. Defaults to half of MaxConns.
	MinConns int32

	// MaxConnLifetime ends a connection after its last use behind that age,
	// give or take a tenth, so that they do not all end at once. Defaults to 1h.
	MaxConnLifetime time.Duration

	// MaxConnIdle ends a connection above MinConns that idled so long.
	// Defaults to 5m.
	MaxConnIdle time.Duration

	// AcquireTimeout bounds the wait for a connection of the pool.
	// Defaults to 5s.
	AcquireTimeout time.Duration

	// ConnectTimeout bounds one attempt to connect. Defaults to 5s.
	ConnectTimeout time.Duration

	// ConnectRetries is how often the first connection is tried again when the
	// server cannot be reached or is still starting. Defaults to 5; negative
	// means never.
	ConnectRetries int

	// QueryTimeout bounds a statement whose SQL file has no @timeout.
	// Defaults to 10s.
	QueryTimeout time.Duration

	// SlowQuery is the time from which a statement is logged as a warning.
	// Defaults to 200ms; negative means never.
	SlowQuery time.Duration

	// LogQueries logs every statement by name with its time, at debug level.
	// Defaults to off.
	LogQueries bool

	// LogArguments adds the arguments to what is logged. They are your users'
	// data: not for production. Defaults to off.
	LogArguments bool

	// Metrics receives the Router's metrics. Defaults to nowhere.
	Metrics prometheus.Registerer

	// Logger receives the log. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	cores := int32(runtime.GOMAXPROCS(0))
	setDefault(&c.MaxConns, max(4, 2*cores))
	setDefault(&c.MinConns, (c.MaxConns+1)/2)
	setDefault(&c.MaxConnLifetime, time.Hour)
	setDefault(&c.MaxConnIdle, 5*time.Minute)
	setDefault(&c.AcquireTimeout, 5*time.Second)
	setDefault(&c.ConnectTimeout, 5*time.Second)
	setDefault(&c.ConnectRetries, 5)
	setDefault(&c.QueryTimeout, 10*time.Second)
	setDefault(&c.ReplicaMaxLag, 10*time.Second)
	setDefault(&c.SlowQuery, 200*time.Millisecond)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate names the setting that cannot be and how to mend it.
func (c Config) validate() error {
	switch {
	case c.MaxConns < 1:
		return fmt.Errorf("POOL_MAX_CONNS is %d: set it to 1 or more", c.MaxConns)
	case c.MinConns < 0 || c.MinConns > c.MaxConns:
		return fmt.Errorf("POOL_MIN_CONNS is %d: set it between 0 and POOL_MAX_CONNS, which is %d", c.MinConns, c.MaxConns)
	case c.MaxConnLifetime < 0, c.MaxConnIdle < 0, c.AcquireTimeout < 0, c.ConnectTimeout < 0, c.QueryTimeout < 0:
		return errors.New("a timeout is negative: set POOL_MAX_CONN_LIFETIME, POOL_MAX_CONN_IDLE, " +
			"POOL_ACQUIRE_TIMEOUT, CONNECT_TIMEOUT and QUERY_TIMEOUT to durations like 5s")
	}
	return nil
}

// poolConfig is the pgxpool's configuration for c, which has its defaults.
func (c Config) poolConfig() (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL cannot be read: %w: write it as "+
			"postgres://user:password@host:port/database or as host=… user=… dbname=…", withoutSecrets(err))
	}
	pc.MaxConns = c.MaxConns
	pc.MinConns = c.MinConns
	pc.MaxConnLifetime = c.MaxConnLifetime
	pc.MaxConnLifetimeJitter = c.MaxConnLifetime / 10
	pc.MaxConnIdleTime = c.MaxConnIdle
	// pgxpool's own default is to wait for ever.
	pc.PingTimeout = c.ConnectTimeout
	pc.ConnConfig.ConnectTimeout = c.ConnectTimeout
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "quern"
	}
	return pc, nil
}

// withoutSecrets keeps of an error about a connection string what cannot hold
// a part of it: pgx quotes the string, and masks passwords only in the forms
// it understands.
func withoutSecrets(err error) error {
	reason := err.Error()
	// pgx writes: cannot parse `the string`: the reason.
	if i := strings.LastIndex(reason, "`: "); i >= 0 {
		reason = reason[i+len("`: "):]
	}
	// The reasons that quote what they could not read stand in parentheses.
	if i := strings.IndexByte(reason, '('); i >= 0 {
		reason = strings.TrimSpace(reason[:i])
	}
	return errors.New(reason)
}

// MaskURL returns a connection string that may be shown: without its password.
// What cannot be read is masked whole.
func MaskURL(s string) string {
	if s == "" {
		return ""
	}
	if !strings.Contains(s, "://") {
		cfg, err := pgxpool.ParseConfig(s)
		if err != nil {
			return "(masked: it cannot be read)"
		}
		c := cfg.ConnConfig
		return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", c.Host, c.Port, c.User, c.Database)
	}
	u, err := url.Parse(s)
	if err != nil {
		return "(masked: it cannot be read)"
	}
	q := u.Query()
	for key := range q {
		if strings.Contains(key, "password") {
			q.Set(key, "xxxxx")
		}
	}
	u.RawQuery = q.Encode()
	return u.Redacted()
}
