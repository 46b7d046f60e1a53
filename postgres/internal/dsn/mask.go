package dsn

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// harmless are the parameters of a URL that may be shown. secret are those of which
// only the name may be shown.
var (
	harmless = []string{
		"application_name", "channel_binding", "connect_timeout", "database", "dbname", "host", "port", "require_auth", "search_path",
		"sslcert", "sslcertmode", "sslkey", "sslmode", "sslrootcert", "target_session_attrs", "timezone", "user",
	}
	secret = []string{"passfile", "password", "sslpassword"}
)

// Mask returns a connection string that may be shown. It has neither the password nor
// parameters that are not in the lists. If the string cannot be parsed, it is masked
// completely, or all of it except its host and database.
func Mask(s string) string {
	const masked = "(masked: it is invalid)"
	if s == "" {
		return ""
	}
	if unreadable(s) != "" {
		return masked
	}
	pc, malformed := parse("", s)
	if _, isURL := cutScheme(s); isURL {
		if u, err := url.Parse(s); err == nil && u.Fragment == "" {
			u.RawQuery = maskQuery(u.Query(), malformed == nil).Encode()
			return u.Redacted()
		}
	}
	if malformed != nil {
		return masked
	}
	return Describe(pc)
}

func maskQuery(q url.Values, readable bool) url.Values {
	const mask = "xxxxx"
	shown := url.Values{}
	for name, values := range q {
		switch known := slices.Contains(harmless, name); {
		case known && readable:
			shown[name] = values
		case known, slices.Contains(secret, name):
			shown.Set(name, mask)
		default:
			shown.Set(mask, mask)
		}
	}
	return shown
}

// Describe returns a connection string in keyword form, without secrets.
func Describe(pc *pgxpool.Config) string {
	cc := pc.ConnConfig
	hosts, ports := []string{cc.Host}, []string{fmt.Sprint(cc.Port)}
	for _, f := range cc.Fallbacks {
		// A host that is tried both with and without TLS is listed twice.
		host, port := f.Host, fmt.Sprint(f.Port)
		if host != hosts[len(hosts)-1] || port != ports[len(ports)-1] {
			hosts, ports = append(hosts, host), append(ports, port)
		}
	}
	return fmt.Sprintf("host=%s port=%s user=%s dbname=%s", strings.Join(hosts, ","), strings.Join(ports, ","), cc.User, cc.Database)
}
