package dsn

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Host is one host of a connection string.
type Host struct {
	Name   string         // host:port, or the path of a socket
	Config *pgconn.Config // of a connection to this host only
}

// Hosts returns the hosts and ports of cc in order. A host that is tried both with and
// without TLS is in cc twice but returned once.
func Hosts(cc *pgconn.Config) (list []Host) {
	seen := map[string]bool{}
	for _, try := range triesOf(cc) {
		name := nameOfHost(try)
		if seen[name] {
			continue
		}
		seen[name] = true
		// pgconn finds a client certificate by the pointer of the TLSConfig, which Copy has
		// replaced, so the attempts must be those of the copy.
		own := cc.Copy()
		tries := slices.DeleteFunc(triesOf(own), func(try *pgconn.FallbackConfig) bool { return nameOfHost(try) != name })
		own.Host, own.Port, own.TLSConfig, own.Fallbacks = tries[0].Host, tries[0].Port, tries[0].TLSConfig, tries[1:]
		list = append(list, Host{Name: name, Config: own})
	}
	return list
}

// triesOf returns the connection attempts that cc makes, in order.
func triesOf(cc *pgconn.Config) []*pgconn.FallbackConfig {
	return append([]*pgconn.FallbackConfig{{Host: cc.Host, Port: cc.Port, TLSConfig: cc.TLSConfig}}, cc.Fallbacks...)
}

func nameOfHost(try *pgconn.FallbackConfig) string {
	_, name := pgconn.NetworkAddress(try.Host, try.Port)
	return name
}

// VerifyFull is the only sslmode that proves the identity of the server.
const VerifyFull = "verify-full"

// SSLMode returns the sslmode in effect for a host. It is derived from pgconn's
// connection attempts, because sslmode may also come from PGSSLMODE or a service file,
// and sslrootcert changes its meaning. With a file, require means verify-ca, and with
// the value system every mode means verify-full.
func (h Host) SSLMode() string {
	tries := triesOf(h.Config)
	first := tries[0].TLSConfig
	switch {
	case first == nil && len(tries) == 1:
		return "disable"
	case first == nil:
		return "allow"
	case len(tries) > 1:
		return "prefer"
	case !first.InsecureSkipVerify:
		return VerifyFull
	case first.VerifyPeerCertificate != nil:
		return "verify-ca"
	}
	return "require"
}

// WithHost returns a connection string with another host and port, which any kind of
// server may have. Everything else stays, such as the password and the verification of TLS.
func WithHost(s, host, port string) string {
	set := [][2]string{{"host", host}, {"port", port}, {"target_session_attrs", "any"}}
	if _, isURL := cutScheme(s); isURL {
		// Parameters take precedence over the hosts before them, and the last one wins. The
		// string is not parsed and written again, because a URL of libpq's is not quite one.
		separator := "?"
		switch {
		case strings.HasSuffix(s, "?"), strings.HasSuffix(s, "&"):
			separator = ""
		case strings.Contains(s, "?"):
			separator = "&"
		}
		for _, p := range set {
			s += separator + p[0] + "=" + url.QueryEscape(p[1])
			separator = "&"
		}
		return s
	}
	for _, p := range set {
		s += fmt.Sprintf(" %s='%s'", p[0], strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(p[1]))
	}
	return s
}
