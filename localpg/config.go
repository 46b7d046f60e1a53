package localpg

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
)

// Config says where the server lives and how it is set up. Only Dir is needed.
type Config struct {
	// Dir is the directory of the server; it is made when absent. Has no default.
	Dir string

	// Binaries is the folder with initdb and postgres. An existing directory of another major version
	// is run by an installed one that fits it, if there is one. Defaults to what Find returns.
	Binaries string

	// Settings are server settings for this run, such as {"fsync": "off"} for tests. They override
	// data/postgresql.conf. Defaults to none.
	Settings map[string]string

	// Database is created when the directory does not have it yet. Defaults to "quern".
	Database string

	// Log receives a line for each start and each repair. An unexpected end is the server's Err.
	// Defaults to discarding.
	Log *slog.Logger
}

// ownSettings are decided by this package, because URL, readiness and errors depend on them.
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
		return c, fmt.Errorf("directory %q: has a line break in its name: choose another", c.Dir)
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
			return c, fmt.Errorf("setting %q: not a name of a PostgreSQL setting", name)
		case ownSettings[strings.ToLower(name)]:
			return c, fmt.Errorf("setting %q: is decided here: remove it", name)
		case strings.ContainsRune(value, 0):
			return c, fmt.Errorf("setting %q: has a zero byte in its value", name)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
