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

// Config says which migrations to apply where. Its zero value with a URL and an FS is
// ready for use.
type Config struct {
	// URL names the server, as in postgres.Config.
	URL string

	// FS holds the migrations, goose files at its root.
	FS fs.FS

	// Pooler is what stands before the server. Through a pooler that gives each
	// transaction another session, Status, Version and Pending work, and what
	// changes the schema must not be called: the lock that lets migrations
	// through one by one is a session's. Defaults to postgres.PoolerNone.
	Pooler postgres.Pooler

	// LockTimeout bounds a migration's wait for a lock. Statements that come
	// behind a waiting ALTER wait with it, so that a long wait is an outage.
	// Defaults to 5s.
	LockTimeout time.Duration

	// LockWait bounds the wait for another session that migrates. Defaults to 5m.
	LockWait time.Duration

	// AllowOutOfOrder applies pending migrations that are older than the last one
	// that was applied, too. Without it they are an error, because they may not fit
	// to what came after them. Defaults to off.
	AllowOutOfOrder bool

	// Logger receives a line for each migration. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.LockTimeout = cmp.Or(c.LockTimeout, 5*time.Second)
	c.LockWait = cmp.Or(c.LockWait, 5*time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// String describes the configuration without its secrets. So does every other way
// to print or log one.
func (c Config) String() string { return "migrate.Config{" + postgres.MaskURL(c.URL) + "}" }

// Format implements fmt.Formatter for every verb: %#v shows fields otherwise.
func (c Config) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue implements slog.LogValuer.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements encoding.TextMarshaler.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
