package postgres

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/dsn"
)

// WeakTLS is a host that is reached over a network with an sslmode below verify-full.
type WeakTLS struct {
	Setting string // DATABASE_URL or DATABASE_REPLICA_URLS
	Host    string // host:port
	Mode    string // the sslmode in effect, regardless of where it was set
}

// FindWeakTLS returns the hosts of cfg.URL and cfg.ReplicaURLs whose sslmode is below
// verify-full, in the order of the URLs. It skips unix sockets and addresses of this
// machine, because there is no network in between, and connection strings that cannot be
// parsed. It does not connect.
func FindWeakTLS(ctx context.Context, cfg Config) (weak []WeakTLS) {
	cfg = cfg.withDefaults()
	add := func(setting, url string) {
		pc, err := cfg.poolConfigOf(setting, url)
		if err != nil {
			return
		}
		for _, h := range dsn.Hosts(&pc.ConnConfig.Config) {
			if mode := h.SSLMode(); mode != dsn.VerifyFull && !onThisMachine(ctx, h.Config) {
				weak = append(weak, WeakTLS{Setting: setting, Host: h.Name, Mode: mode})
			}
		}
	}
	add(settingPrimary, cfg.URL)
	for _, url := range cfg.ReplicaURLs {
		add(settingReplicas, url)
	}
	return weak
}

// onThisMachine reports whether a host is a unix socket or has only loopback addresses. A
// name that cannot be resolved is assumed to be another machine.
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
