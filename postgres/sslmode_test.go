package postgres_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/postgres"
)

// Not parallel, because it sets libpq's environment variables.
func TestFindWeakTLS(t *testing.T) {
	rootFile := newAuthority(t, "ours").root()
	const host = "db.invalid:5432"
	for name, tt := range map[string]struct {
		query, environment string
		want               string // the mode that is too weak, or empty
	}{
		"default":                    {"", "", "prefer"},
		"disable":                    {"sslmode=disable", "", "disable"},
		"allow":                      {"sslmode=allow", "", "allow"},
		"prefer":                     {"sslmode=prefer", "", "prefer"},
		"require":                    {"sslmode=require", "", "require"},
		"require, direct":            {"sslmode=require&sslnegotiation=direct", "", "require"},
		"verify-ca":                  {"sslmode=verify-ca&sslrootcert=" + rootFile, "", "verify-ca"},
		"require with a root":        {"sslmode=require&sslrootcert=" + rootFile, "", "verify-ca"},
		"prefer with a root":         {"sslmode=prefer&sslrootcert=" + rootFile, "", "prefer"},
		"verify-full":                {"sslmode=verify-full", "", ""},
		"verify-full with a root":    {"sslmode=verify-full&sslrootcert=" + rootFile, "", ""},
		"the system's roots":         {"sslrootcert=system", "", ""},
		"of the environment":         {"", "require", "require"},
		"of the environment, strong": {"", "verify-full", ""},
		"the URL goes first":         {"sslmode=disable", "verify-full", "disable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PGSSLMODE", tt.environment)
			var want []postgres.WeakTLS
			if tt.want != "" {
				want = []postgres.WeakTLS{{Setting: "DATABASE_URL", Host: host, Mode: tt.want}}
			}
			got := postgres.FindWeakTLS(t.Context(), postgres.Config{URL: "postgres://app@" + host + "/app?" + tt.query})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// All hosts of all URLs are checked, except those on this machine.
func TestFindWeakTLS_Hosts(t *testing.T) {
	t.Parallel()
	weak := func(setting, host string) postgres.WeakTLS {
		return postgres.WeakTLS{Setting: setting, Host: host, Mode: "prefer"}
	}
	for url, want := range map[string][]postgres.WeakTLS{
		"postgres://app@a.invalid,127.0.0.1,b.invalid:6432/app":        {weak("DATABASE_URL", "a.invalid:5432"), weak("DATABASE_URL", "b.invalid:6432")},
		"host=10.1.2.3,::1,fe80::1%eth0 port=5432 user=app":            {weak("DATABASE_URL", "10.1.2.3:5432"), weak("DATABASE_URL", "[fe80::1%eth0]:5432")},
		"postgres://app@localhost/app":                                 nil,
		"postgres://app@127.8.9.10/app?sslmode=disable":                nil,
		"postgres://app@[::1]/app":                                     nil,
		"host=/var/run/postgresql user=app":                            nil,
		"postgres:///app?host=/run/postgresql,c.invalid&sslmode=allow": {{Setting: "DATABASE_URL", Host: "c.invalid:5432", Mode: "allow"}},
		"postgres://app@h:port/app":                                    nil, // reported elsewhere, because it cannot be parsed
	} {
		if diff := cmp.Diff(want, postgres.FindWeakTLS(t.Context(), postgres.Config{URL: url})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
	}
	got := postgres.FindWeakTLS(t.Context(), postgres.Config{
		URL:         "postgres://app@a.invalid/app?sslmode=verify-full",
		ReplicaURLs: []string{"postgres://app@127.0.0.1/app", "postgres://app@r.invalid/app"},
	})
	if diff := cmp.Diff([]postgres.WeakTLS{weak("DATABASE_REPLICA_URLS", "r.invalid:5432")}, got); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
}
