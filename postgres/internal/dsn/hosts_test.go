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
