package postgres

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// WeakTLS is a host that is reached over a network with an sslmode below
// verify-full.
type WeakTLS struct {
	Setting string // DATABASE_URL or DATABASE_REPLICA_URLS
	Host    string // host:port
	Mode    string // the sslmode in effect, wherever it was set
}

// FindWeakTLS returns the hosts of cfg.URL and cfg.ReplicaURLs whose sslmode is
// below verify-full, in the order of the URLs. It leaves out unix sockets and this
// machine's own addresses, where nobody is on the way, and connection strings that
// cannot be read. It does not connect.
func FindWeakTLS(ctx context.Context, cfg Config) (weak []WeakTLS) {
	cfg = cfg.withDefaults()
	add := func(setting, url string) {
		pc, err := cfg.poolConfigOf(setting, url)
		if err != nil {
			return
		}
		for _, h := range splitHosts(&pc.ConnConfig.Config) {
			if mode := sslmodeOf(h.config); mode != verifyFull && !onThisMachine(ctx, h.config) {
				weak = append(weak, WeakTLS{Setting: setting, Host: h.name, Mode: mode})
			}
		}
	}
	add(settingPrimary, cfg.URL)
	for _, url := range cfg.ReplicaURLs {
		add(settingReplicas, url)
	}
	return weak
}

const verifyFull = "verify-full"

// sslmodeOf returns the sslmode in effect for a host. It goes by the attempts to
// connect that pgconn makes of it, because sslmode may also come from PGSSLMODE or
// a service file, and sslrootcert changes what it means: with a file, require
// is verify-ca, and with the value system each mode is verify-full.
func sslmodeOf(cc *pgconn.Config) string {
	tries := triesOf(cc)
	first := tries[0].TLSConfig
	switch {
	case first == nil && len(tries) == 1:
		return "disable"
	case first == nil:
		return "allow"
	case len(tries) > 1:
		return "prefer"
	case !first.InsecureSkipVerify:
		return verifyFull
	case first.VerifyPeerCertificate != nil:
		return "verify-ca"
	}
	return "require"
}

// onThisMachine reports whether a host is a unix socket or has only loopback
// addresses. A name that cannot be looked up counts as another machine's.
func onThisMachine(ctx context.Context, cc *pgconn.Config) bool {
	if network, _ := pgconn.NetworkAddress(cc.Host, cc.Port); network == "unix" {
		return true
	}
	host, _, _ := strings.Cut(cc.Host, "%") // the zone of an IPv6 address
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	for _, a := range addresses {
		if !a.IP.IsLoopback() {
			return false
		}
	}
	return err == nil
}
