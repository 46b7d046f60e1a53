package postgres

import (
	"fmt"
	"io"
	"log/slog"

	"quern/postgres/internal/dsn"
)

// MaskURL returns a connection string that may be shown: without its password, and
// without parameters that it does not know. A string that cannot be read is masked
// whole, or except for its host and database.
func MaskURL(s string) string { return dsn.Mask(s) }

// String describes the configuration without its secrets. So does every other
// way to print or log one.
func (c Config) String() string {
	return fmt.Sprintf("postgres.Config{%s, %d replicas, %d to %d connections}",
		MaskURL(c.URL), len(c.ReplicaURLs), c.MinConns, c.MaxConns)
}

// Format implements fmt.Formatter for every verb: %#v shows fields otherwise.
func (c Config) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, c.String()) }

// LogValue implements slog.LogValuer.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements encoding.TextMarshaler, which JSON asks for, too.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Format implements fmt.Formatter: a Router holds its Config.
func (r *Router) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "postgres.Router{%s}", r.cfg)
}
