package localpg

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
)

// Config sets where the server's files are and how it runs. Only Dir is required.
type Config struct {
	// Dir is the directory of the server. It is created if it does not exist. It has no default.
	Dir string

	// Binaries is the folder with initdb and postgres. If Dir was made by another major version, an
	// installed PostgreSQL of that version is used instead. Defaults to what Find returns.
	Binaries string

	// Settings are server settings for this run, such as {"fsync": "off"} for tests. They take precedence
	// over data/postgresql.conf. Port, addresses, sockets and log destination cannot be set. Defaults to
	// none.
	Settings map[string]string

	// Database is the database of the URL. It is created if the server does not have it. Defaults to
	// "quern".
	Database string

	// Log receives a line for each start and each repair. If the server ends unexpectedly, Err returns
	// the reason instead. Defaults to none.
	Log *slog.Logger
}

// ownSettings are set by this package, because URL, readiness and errors depend on them.
var ownSettings = map[string]bool{
	"port": true, "listen_addresses": true, "unix_socket_directories": true, "unix_socket_permissions": true,
	"data_directory": true, "logging_collector": true, "log_destination": true,
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// maxIdentifier is NAMEDATALEN-1: PostgreSQL silently truncates longer names.
const maxIdentifier = 63

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("no directory given: name one, such as ./.data/postgres")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return c, err
	}
	c.Dir = dir
	if strings.ContainsAny(c.Dir, "\n\r") {
		return c, fmt.Errorf("directory %q: its name has a line break: choose another directory", c.Dir)
	}
	if c.Database == "" {
		c.Database = defaultDatabase
	}
	if len(c.Database) > maxIdentifier || strings.ContainsFunc(c.Database, func(r rune) bool { return r < ' ' }) {
		return c, fmt.Errorf("database name %q: use at most %d bytes and no control characters", c.Database, maxIdentifier)
	}
	for name, value := range c.Settings {
		switch {
		case !settingName.MatchString(name):
			return c, fmt.Errorf("setting %q: not a valid name of a PostgreSQL setting", name)
		case ownSettings[strings.ToLower(name)]:
			return c, fmt.Errorf("setting %q: is set by this package: remove it", name)
		case strings.ContainsRune(value, 0):
			return c, fmt.Errorf("setting %q: has a zero byte in its value", name)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
