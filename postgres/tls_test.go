package postgres_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quern/pgtest"
	"quern/postgres"
)

// Results of an attempt to connect.
const (
	plain       = "plain" // connected, unencrypted
	encrypted   = "TLS"   // connected
	noAuthority = "unknown authority"
	otherHost   = "another host"
	expired     = "expired"
	hasNone     = "the server does not support it"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	ours.issue(t, "right", forServer())
	others.issue(t, "wrong-ca", forServer())
	c := forServer()
	c.DNSNames, c.IPAddresses = []string{"elsewhere.example"}, nil
	ours.issue(t, "wrong-host", c)
	c = forServer()
	c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	ours.issue(t, "expired", c)
	for _, client := range []string{"certified", "somebody"} {
		ours.issue(t, client, &x509.Certificate{
			Subject: pkix.Name{CommonName: client}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
	}
	others.issue(t, "certified", &x509.Certificate{
		Subject: pkix.Name{CommonName: "certified"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	server := newSecured(t, ours,
		"hostssl all certified 127.0.0.1/32 cert",
		"hostnossl all tlsonly 127.0.0.1/32 reject",
		"host all rejected 127.0.0.1/32 reject",
	)
	admin(t, server.URL(), "CREATE ROLE certified LOGIN", "CREATE ROLE tlsonly LOGIN PASSWORD 'x'",
		"CREATE ROLE rejected LOGIN PASSWORD 'x'")
	bare := pgtest.EmptyURL(t)

	// The columns share a server that changes its certificate.
	for _, column := range []struct {
		name string
		by   *authority
		want map[string]string // by sslmode; "+root" means that sslrootcert is set, too
	}{
		{"right", ours, map[string]string{
			"disable": plain, "allow": plain, "prefer": encrypted, "require": encrypted,
			"require+root": encrypted, "verify-ca+root": encrypted, "verify-full+root": encrypted,
			"verify-ca": noAuthority, "verify-full": noAuthority,
		}},
		{"wrong-ca", others, map[string]string{
			"disable": plain, "allow": plain, "prefer": encrypted, "require": encrypted,
			"require+root": noAuthority, "verify-ca+root": noAuthority, "verify-full+root": noAuthority,
		}},
		{"wrong-host", ours, map[string]string{
			"disable": plain, "allow": plain, "prefer": encrypted, "require": encrypted,
			"require+root": encrypted, "verify-ca+root": encrypted, "verify-full+root": otherHost,
		}},
		{"expired", ours, map[string]string{
			"disable": plain, "allow": plain, "prefer": encrypted, "require": encrypted,
			"require+root": expired, "verify-ca+root": expired, "verify-full+root": expired,
		}},
		{"none", nil, map[string]string{
			"disable": plain, "allow": plain, "prefer": plain, "require": hasNone,
			"require+root": hasNone, "verify-ca+root": hasNone, "verify-full+root": hasNone,
		}},
	} {
		address := bare
		if column.by != nil {
			server.use(column.by, column.name)
			address = server.URL()
		}
		for mode, want := range column.want {
			parameters := []string{"sslmode", mode}
			if m, ok := strings.CutSuffix(mode, "+root"); ok {
				parameters = []string{"sslmode", m, "sslrootcert", ours.root()}
			}
			if got := attempt(t, as(t, address, "", "", parameters...)); got != want {
				t.Errorf("%s, sslmode %s: %s, want %s", column.name, mode, got, want)
			}
		}
	}
	server.use(ours, "right")

	t.Run("ClientCertificates", func(t *testing.T) {
		for _, tt := range []struct {
			by   *authority
			name string
			want string
		}{
			{ours, "certified", encrypted},
			{ours, "somebody", "requires a client certificate"},
			{others, "certified", "requires a client certificate"}, // not even sent, because the server names its authorities
			{nil, "", "requires a client certificate"},
		} {
			parameters := []string{"sslmode", "verify-full", "sslrootcert", ours.root()}
			if tt.by != nil {
				parameters = append(parameters, "sslcert", filepath.Join(tt.by.dir, tt.name+".crt"),
					"sslkey", filepath.Join(tt.by.dir, tt.name+".key"))
			}
			if got := attempt(t, as(t, server.URL(), "certified", "", parameters...)); !strings.Contains(got, tt.want) {
				t.Errorf("with %q: %s, want %s", tt.name, got, tt.want)
			}
		}
	})

	// The checks of several hosts present it, too.
	t.Run("ClientCertificatesOfHosts", func(t *testing.T) {
		address := as(t, server.URL(), "certified", "", "sslmode", "verify-full", "sslrootcert", ours.root(),
			"sslcert", filepath.Join(ours.dir, "certified.crt"), "sslkey", filepath.Join(ours.dir, "certified.key"))
		address = changed(t, address, func(u *url.URL) { u.Host += ",localhost:" + u.Port() })
		hosts, err := postgres.LookAtHosts(t.Context(), postgres.Config{URL: address, Logger: quiet})
		if err != nil || len(hosts) != 2 {
			t.Fatalf("%d hosts, want 2; err = %v", len(hosts), err)
		}
		for _, h := range hosts {
			if h.Err != nil {
				t.Errorf("%s: %v", h.Name, h.Err)
			}
		}
	})

	t.Run("RequireAuth", func(t *testing.T) {
		for method, want := range map[string]string{
			"scram-sha-256": encrypted, "!password,!md5": encrypted, "password": "require_auth", "none": "require_auth",
		} {
			if got := attempt(t, as(t, server.URL(), "", "", "sslmode", "require", "require_auth", method)); !strings.Contains(got, want) {
				t.Errorf("require_auth=%s: %s, want %s", method, got, want)
			}
		}
	})

	t.Run("ServerDemandsTLS", func(t *testing.T) {
		for mode, want := range map[string]string{"disable": "requires TLS", "allow": encrypted, "prefer": encrypted} {
			if got := attempt(t, as(t, server.URL(), "tlsonly", "x", "sslmode", mode)); !strings.Contains(got, want) {
				t.Errorf("sslmode %s: %s, want %s", mode, got, want)
			}
		}
		if got := attempt(t, as(t, server.URL(), "rejected", "x", "sslmode", "require")); !strings.Contains(got, "the role may not connect") {
			t.Errorf("a role that pg_hba.conf rejects: %s", got)
		}
	})

	t.Run("IdleConnectionsThatDied", func(t *testing.T) {
		n := newCounts()
		r := open(t, postgres.Config{
			URL: as(t, server.URL(), "", "", "sslmode", "verify-full", "sslrootcert", ours.root()), MaxConns: 4, Observers: observers(n),
		})
		dieIdle(t, r, server.URL(), n)
	})
}

// attempt connects and returns the result.
func attempt(t *testing.T, address string) string {
	t.Helper()
	start := time.Now()
	r, err := postgres.Connect(t.Context(), postgres.Config{URL: address, MaxConns: 1, ConnectRetries: 50, Logger: quiet})
	if err != nil {
		if time.Since(start) > 20*time.Second {
			t.Errorf("it was retried: %v", err)
		}
		d := postgres.Diagnose(err)
		if d.Hint == "" || d.Transient || !strings.HasSuffix(err.Error(), d.Hint) || strings.Contains(err.Error(), "\n") {
			t.Errorf("err = %v, want one line that ends with the hint (%+v)", err, d)
		}
		for _, known := range []string{noAuthority, otherHost, expired, hasNone} {
			if strings.HasPrefix(d.What, "TLS: ") && strings.Contains(d.What, known) {
				return known
			}
		}
		return d.What
	}
	defer r.Close()
	conn, err := r.Pool().Acquire(t.Context())
	if err != nil {
		return err.Error()
	}
	defer conn.Release()
	switch c := conn.Conn().PgConn().Conn().(type) {
	case *tls.Conn:
		return encrypted
	case *net.TCPConn:
		return plain
	default:
		t.Fatalf("%T", c)
	}
	return ""
}
