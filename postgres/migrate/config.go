package migrate

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"quern/postgres"
)

// Config sets which migrations are applied and where. A zero Config with a URL
// and an FS is ready for use.
type Config struct {
	// URL is the server's URL, as in postgres.Config.
	URL string

	// FS has the migrations, goose files at its root.
	FS fs.FS

	// Sums is the text of the SumFile, with the checksums of the migrations. If a migration's
	// text has another checksum, New fails. Defaults to none.
	Sums []byte

	// Pooler is the connection pooler in front of the server. If the pooler assigns
	// another session to each transaction, only Status, Version and Pending work.
	// Methods that change the schema must not be called, because the lock that
	// serializes migrations belongs to a session. Defaults to postgres.PoolerNone.
	Pooler postgres.Pooler

	// LockTimeout bounds how long a migration waits for a lock. Other statements
	// queue behind a waiting ALTER, so a long wait is an outage. Defaults to 5s.
	LockTimeout time.Duration

	// LockRetries is how often a migration is tried again if it timed out after waiting
	// LockTimeout for a lock. The pauses are 1, 2, 4, … s. Meanwhile, the statements that
	// queued for the lock after it can proceed. A migration without a transaction is not
	// repeated. Defaults to 3; negative means none.
	LockRetries int

	// LockWait bounds how long to wait for another session that migrates. Defaults
	// to 5m.
	LockWait time.Duration

	// AllowOutOfOrder also applies pending migrations that are older than the last
	// applied one. Without it they are an error, because they may conflict with
	// later migrations. Defaults to off.
	AllowOutOfOrder bool

	// History records each run with its duration in the table migration_history, which
	// is created if it does not exist. Defaults to off.
	History bool

	// Logger receives a line for each migration. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.LockTimeout = cmp.Or(c.LockTimeout, 5*time.Second)
	c.LockRetries = max(cmp.Or(c.LockRetries, 3), 0)
	c.LockWait = cmp.Or(c.LockWait, 5*time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// String describes the configuration without its secrets. All other ways to print
// or log it do the same.
func (c Config) String() string { return "migrate.Config{" + postgres.MaskURL(c.URL) + "}" }

// Format implements fmt.Formatter for every verb. Otherwise %#v would print the
// fields.
func (c Config) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue implements slog.LogValuer.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements encoding.TextMarshaler.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
