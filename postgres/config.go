package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/conn"
	"quern/postgres/internal/dsn"
)

// Config configures a Router. The zero value is ready for use with a URL. A zero duration
// means the default.
type Config struct {
	// URL is the connection string of the server, as a URL or in libpq's keyword form.
	// Parts that it omits come from libpq's environment variables (PGHOST, …). Defaults to
	// those variables.
	URL string

	// ReplicaURLs are the connection strings of the replicas, in the form of URL. Defaults
	// to none.
	ReplicaURLs []string

	// ReplicaDiscovery returns the addresses (host:port) of the servers of the cluster, such as
	// Addresses of package patroni. It is called every 2 s. A server that it lists becomes a
	// replica, with the connection string of URL but for the host, and is forgotten once it
	// is not listed any more. The primary may be listed, because it may become a replica.
	// After an error the last list stays in use. Defaults to none.
	ReplicaDiscovery func(context.Context) ([]string, error)

	// ReplicaMaxLag is how far a replica may lag behind the primary and still be used.
	// Defaults to 10s.
	ReplicaMaxLag time.Duration

	// Statements are the generated registry, db.Statements. Defaults to none. Every statement
	// then has the default policy.
	Statements []Statement

	// Name is used in the names of sessions and savepoints. It is the application_name
	// unless the URL has one, and savepoints are called Name_1, Name_2 and so on. Defaults
	// to quern.
	Name string

	// MarkerTable is the table of commit markers, with or without a schema (see
	// TablesMigration). Defaults to commit_markers.
	MarkerTable string

	// HistoryTable is the table of server histories, with or without a schema (see
	// TablesMigration). Defaults to server_histories.
	HistoryTable string

	// MaxConns is the size of the pool. Defaults to 2 × the cores that this process may
	// use, at least 4.
	MaxConns int32

	// MinConns is the number of connections that are kept open when idle. Defaults to half
	// of MaxConns, which is the number of cores.
	MinConns int32

	// PoolClasses is the share of each pool for classes of work (@class in the SQL files),
	// as a percentage or a number of connections: {"bulk": "50%"} or {"bulk": "2"}. One
	// connection of each pool is always reserved for class default, so in a pool of one the
	// other classes are rejected. A class that is not named has 50%. Defaults to {"bulk":
	// "50%"}.
	PoolClasses map[string]string

	// MaxConnLifetime is the age after which a connection is closed once it is returned to
	// the pool. Up to 10 % jitter is added. Defaults to 1h.
	MaxConnLifetime time.Duration

	// MaxConnIdle is the idle time after which a connection above MinConns is closed.
	// Defaults to 5m.
	MaxConnIdle time.Duration

	// AcquireTimeout bounds the wait for a connection of the pool. The wait counts against
	// the statement's deadline, so a statement with a shorter deadline waits no longer than
	// that. Defaults to 5s.
	AcquireTimeout time.Duration

	// ConnectTimeout bounds one attempt to connect to one host. A connect_timeout in the
	// URL takes precedence. Defaults to 5s.
	ConnectTimeout time.Duration

	// ConnectRetries is how often the first connection is retried if the server cannot be
	// reached or is still starting. Defaults to 5. Negative means never.
	ConnectRetries int

	// Pooler is the connection pooler in front of the server. Defaults to PoolerNone.
	Pooler Pooler

	// QueryTimeout bounds a statement whose SQL file has no @timeout. Defaults to 10s.
	QueryTimeout time.Duration

	// TxMaxIdle is how long a transaction may be idle because its function waits for
	// something other than its statements. After that it loses its connection (see
	// TxOptions.MaxIdle). Defaults to 5s. Negative means no limit.
	TxMaxIdle time.Duration

	// CoalesceReads merges concurrent reads with @batch into one statement under load.
	// Defaults to true.
	CoalesceReads *bool

	// CoalesceInserts merges concurrent inserts with @batch into one statement under
	// load. Defaults to true.
	CoalesceInserts *bool

	// CoalesceUpdates merges concurrent updates and deletes with @batch into one statement
	// under load. Defaults to true.
	CoalesceUpdates *bool

	// CoalesceTransactions lets concurrent pipelines with TxOptions.Coalesce share a
	// transaction under load. Defaults to true.
	CoalesceTransactions *bool

	// SeparateReads is the opposite of CoalesceReads, which takes precedence.
	//
	// Deprecated: Set CoalesceReads to false.
	SeparateReads bool

	// SeparateInserts is the opposite of CoalesceInserts, which takes precedence.
	//
	// Deprecated: Set CoalesceInserts to false.
	SeparateInserts bool

	// SlowQuery is the duration from which a statement is logged as a warning. Defaults to
	// 200ms. Negative means never.
	SlowQuery time.Duration

	// LogQueries logs the name and duration of every statement at debug level. Defaults to
	// off.
	LogQueries bool

	// LogArguments adds the arguments to the log. They contain your users' data, so do not
	// use it in production. Defaults to off.
	LogArguments bool

	// Observers are notified of statements, connections and failures, in this order. Use
	// pgprom.New for metrics and pgotel.New for spans. Defaults to none.
	Observers []Observer

	// Logger receives the log. Defaults to slog.Default().
	Logger *slog.Logger
}

// leastConns is the lowest default of MaxConns. On one core, twice the cores would be two
// connections. Connections wait for disks and networks rather than for cores, so with two of
// them a request that holds one in a transaction halves the throughput.
const leastConns = 4

// DefaultPool returns the default sizes of a pool: as many open connections as cores, and
// at most twice as many.
//
// The number of cores is GOMAXPROCS, which respects the CPU quota of the container since Go
// 1.25. NumCPU would count the cores of the host.
func DefaultPool() (least, most int32) { return poolFor(runtime.GOMAXPROCS(0)) }

func poolFor(cores int) (least, most int32) {
	most = max(leastConns, 2*int32(cores))
	return most / 2, most
}

func (c Config) withDefaults() Config {
	_, most := DefaultPool()
	setDefault(&c.MaxConns, most)
	setDefault(&c.Name, "quern")
	setDefault(&c.MarkerTable, "commit_markers")
	setDefault(&c.HistoryTable, "server_histories")
	setDefault(&c.MinConns, (c.MaxConns+1)/2)
	setDefault(&c.MaxConnLifetime, time.Hour)
	setDefault(&c.MaxConnIdle, 5*time.Minute)
	setDefault(&c.AcquireTimeout, 5*time.Second)
	setDefault(&c.ConnectTimeout, 5*time.Second)
	setDefault(&c.ConnectRetries, 5)
	setDefault(&c.Pooler, PoolerNone)
	setDefault(&c.QueryTimeout, 10*time.Second)
	setDefault(&c.TxMaxIdle, 5*time.Second)
	setDefault(&c.ReplicaMaxLag, 10*time.Second)
	setDefault(&c.SlowQuery, 200*time.Millisecond)
	setDefault(&c.CoalesceReads, new(!c.SeparateReads))
	setDefault(&c.CoalesceInserts, new(!c.SeparateInserts))
	setDefault(&c.CoalesceUpdates, new(true))
	setDefault(&c.CoalesceTransactions, new(true))
	if c.PoolClasses == nil {
		c.PoolClasses = map[string]string{"bulk": defaultShare}
	}
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

// validate returns an error that names the invalid setting and how to fix it.
func (c Config) validate() error {
	switch {
	case c.MaxConns < 1:
		return fmt.Errorf("POOL_MAX_CONNS is %d: set it to 1 or more", c.MaxConns)
	case c.MinConns < 0 || c.MinConns > c.MaxConns:
		return fmt.Errorf("POOL_MIN_CONNS is %d: set it between 0 and POOL_MAX_CONNS, which is %d", c.MinConns, c.MaxConns)
	case c.MaxConnLifetime < 0, c.MaxConnIdle < 0, c.AcquireTimeout < 0, c.ConnectTimeout < 0, c.QueryTimeout < 0:
		return errors.New("a timeout is negative: set POOL_MAX_CONN_LIFETIME, POOL_MAX_CONN_IDLE, " +
			"POOL_ACQUIRE_TIMEOUT, CONNECT_TIMEOUT and QUERY_TIMEOUT to durations like 5s")
	case c.Pooler != PoolerNone && c.Pooler != PoolerTransaction:
		return fmt.Errorf("POOLER is %q: set it to %s or %s", c.Pooler, PoolerNone, PoolerTransaction)
	}
	if err := c.validateTables(); err != nil {
		return err
	}
	_, err := classLimits(c)
	return err
}

// poolConfig returns the pgxpool configuration for c, which must have its defaults.
func (c Config) poolConfig() (*pgxpool.Config, error) {
	return c.poolConfigOf(settingPrimary, c.URL)
}

// poolConfigOf is poolConfig for the server of a setting.
func (c Config) poolConfigOf(setting, url string) (*pgxpool.Config, error) {
	return c.options(setting, url).PoolConfig()
}

// options returns the options of connections to the server of a setting.
func (c Config) options(setting, url string) conn.Options {
	return conn.Options{
		Setting: setting, URL: url, ApplicationName: c.Name,
		MaxConns: c.MaxConns, MinConns: c.MinConns,
		MaxConnLifetime: c.MaxConnLifetime, MaxConnIdle: c.MaxConnIdle, ConnectTimeout: c.ConnectTimeout,
		Pooled: c.Pooler == PoolerTransaction, Types: typesOf(c.Statements), Logger: c.Logger,
	}
}

// typesOf returns the types that statements use, without duplicates.
func typesOf(statements []Statement) []string {
	var all []string
	for _, s := range statements {
		all = append(all, s.Types...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ConnConfig returns the configuration of a separate connection to the primary, such as
// that of a migration. It is dialled and guarded like the connections of the pool.
// afterConnect must prepare each new connection before its first statement. It checks that
// the encoding is UTF-8 and sets the session's settings. Its signature is that of
// stdlib.OptionAfterConnect and pgxpool's AfterConnect.
func (c Config) ConnConfig() (cc *pgx.ConnConfig, afterConnect func(context.Context, *pgx.Conn) error, err error) {
	c = c.withDefaults()
	pc, err := c.poolConfig()
	if err != nil {
		return nil, nil, err
	}
	newHosts(c, pc).guard(&pc.ConnConfig.Config)
	return pc.ConnConfig, c.options(settingPrimary, c.URL).PrepareSession, nil
}

// String describes the configuration without its secrets. So do all other ways to print or log
// it.
func (c Config) String() string {
	return fmt.Sprintf("postgres.Config{%s, %d replicas, %d to %d connections}",
		MaskURL(c.URL), len(c.ReplicaURLs), c.MinConns, c.MaxConns)
}

// Format implements fmt.Formatter for every verb, because %#v would otherwise show the
// fields.
func (c Config) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue implements slog.LogValuer.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements encoding.TextMarshaler, which encoding/json uses too.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MaskURL returns a connection string for display, without the password and unknown
// parameters. If the string cannot be parsed, everything is masked, or everything except
// host and database.
func MaskURL(s string) string { return dsn.Mask(s) }
