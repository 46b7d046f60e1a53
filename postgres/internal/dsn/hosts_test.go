package dsn

import (
	"slices"
	"strings"
	"testing"
)

// TestHosts_TLS checks that each host is tried as pgx tries it, and no other
// host.
func TestHosts_TLS(t *testing.T) {
	t.Parallel()
	for query, want := range map[string][]string{
		"sslmode=disable":     {"plain"},
		"sslmode=prefer":      {"TLS ", "plain"},
		"sslmode=allow":       {"plain", "TLS "},
		"sslmode=verify-full": {"TLS %"},
	} {
		pc, err := Parse("DATABASE_URL", "postgres://app:secret@a.example:5432,b.example:5433/app?application_name=us&"+query)
		if err != nil {
			t.Fatal(err)
		}
		hosts := Hosts(&pc.ConnConfig.Config)
		if len(hosts) != 2 {
			t.Fatalf("%s: %v", query, hosts)
		}
		for i, h := range hosts {
			host := []string{"a.example", "b.example"}[i]
			if port := []string{":5432", ":5433"}[i]; h.Name != host+port {
				t.Errorf("%s: the host is named %s", query, h.Name)
			}
			if h.Config.Password != "secret" || h.Config.RuntimeParams["application_name"] != "us" {
				t.Errorf("%s: %s: %q, %v", query, h.Name, h.Config.Password, h.Config.RuntimeParams)
			}
			var expected, got []string
			for _, w := range want {
				expected = append(expected, strings.Replace(w, "%", host, 1))
			}
			for _, try := range triesOf(h.Config) {
				switch {
				case try.Host != host:
					t.Errorf("%s: %s is tried at %s", query, h.Name, try.Host)
				case try.TLSConfig == nil:
					got = append(got, "plain")
				case query == "sslmode=verify-full":
					got = append(got, "TLS "+try.TLSConfig.ServerName)
				default: // the name is sent but not verified
					got = append(got, "TLS ")
				}
			}
			if !slices.Equal(got, expected) {
				t.Errorf("%s: %s is tried as %q, want %q", query, h.Name, got, expected)
			}
		}
	}
}

// TestWithHost checks that only the host, the port and the kind of server change.
func TestWithHost(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"postgres://app:s%20e+c%2Fret@a.example:5432,b.example:5433/shop?sslmode=disable&options=-c%20geqo%3Doff&target_session_attrs=read-write",
		"postgresql://app:s%20e+c%2Fret@/shop?host=a.example&port=5432&sslmode=disable&options=-c%20geqo%3Doff",
		`host=a.example,b.example port=5432,5433 user=app password='s e+c/ret' dbname=shop sslmode=disable options='-c geqo=off' target_session_attrs=read-write`,
	} {
		for _, host := range []string{"c.example", "::1", "10.0.0.1"} {
			pc, err := Parse("REPLICA_DISCOVERY", WithHost(s, host, "5444"))
			if err != nil {
				t.Errorf("%s: %v", s, err)
				continue
			}
			c := pc.ConnConfig
			if c.Host != host || c.Port != 5444 || len(c.Fallbacks) > 0 || c.ValidateConnect != nil {
				t.Errorf("%s: leads to %s port %d and %d others", s, c.Host, c.Port, len(c.Fallbacks))
			}
			if c.User != "app" || c.Password != "s e+c/ret" || c.Database != "shop" || c.RuntimeParams["options"] != "-c geqo=off" {
				t.Errorf("%s: %s %q %s %q", s, c.User, c.Password, c.Database, c.RuntimeParams["options"])
			}
		}
	}
	for _, s := range []string{"", "postgres://", "postgres://a?", "postgres://a?user=x&"} {
		if pc, err := Parse("REPLICA_DISCOVERY", WithHost(s, "c.example", "5444")); err != nil || pc.ConnConfig.Host != "c.example" {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, host := range []string{"", "x' password='y", "a b", "a&user=x"} {
		pc, err := Parse("REPLICA_DISCOVERY", WithHost("postgres://app:secret@a/shop", host, "5444"))
		if err == nil && pc.ConnConfig.Host == "a" {
			t.Errorf("%q is taken for the host of the string", host)
		}
	}
}
