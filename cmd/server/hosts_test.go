package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"quern/internal/storetest"
)

// TestServe_Hosts sends requests with different Host headers to a server on loopback and to one
// beyond it.
func TestServe_Hosts(t *testing.T) {
	t.Parallel()
	database := "DATABASE_URL=" + storetest.NewURL(t)
	for name, test := range map[string]struct {
		env     []string
		want    map[string]int // status by Host
		exposed bool
	}{
		"Loopback": {
			want: map[string]int{"localhost": 200, "127.0.0.1:1": 200, "[::1]": 200, "evil.example": 421, "api.example.com": 421, "192.0.2.1": 421},
		},
		"Setting": {
			env:  []string{"ALLOWED_HOSTS=api.example.com www.example.com:8443"},
			want: map[string]int{"localhost": 200, "api.example.com": 200, "www.example.com": 200, "evil.example": 421},
		},
		"Beyond": {
			env:     []string{"LISTEN=0.0.0.0:0", "INSECURE=true"},
			want:    map[string]int{"localhost": 200, "quern.default.svc:8080": 200, "10.1.2.3:8080": 200},
			exposed: true,
		},
		"BeyondWithSetting": {
			env:     []string{"LISTEN=0.0.0.0:0", "INSECURE=true", "ALLOWED_HOSTS=api.example.com"},
			want:    map[string]int{"localhost": 200, "api.example.com": 200, "127.0.0.1": 200, "evil.example": 421},
			exposed: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, t.TempDir(), append(test.env, database)...)
			base, err := url.Parse(p.base)
			if err != nil {
				t.Fatal(err)
			}
			for host, want := range test.want {
				for _, path := range []string{"/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/v1/users"} {
					r, err := http.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:"+base.Port()+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Host = host
					resp, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					if resp.StatusCode != want {
						t.Errorf("%s with Host %s: %d, want %d", path, host, resp.StatusCode, want)
					}
				}
			}
			if got := strings.Contains(p.stderr.String(), "INSECURE is set"); got != test.exposed {
				t.Errorf("warned of an open address: %t, want %t: %s", got, test.exposed, p.stderr)
			}
		})
	}
}

func TestSettings_AllowedHosts(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a.example", "a.example:8443", "10.0.0.1", "::1", "[::1]:80", "a.example,b.example c.example"} {
		if err := (&settings{AllowedHosts: []string{good}}).validateHosts(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"http://a.example", "a.example/x", "*", "*.example", "user@a.example", ":80", "a:b:c"} {
		if err := (&settings{AllowedHosts: []string{bad}}).validateHosts(); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestSettings_CORSOrigins(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"*", "https://a.example", "http://localhost:5173", "https://a.example,https://b.example https://c.example"} {
		if err := (&settings{CORSOrigins: []string{good}}).validateOrigins(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"a.example", "https://a.example/", "https://a.example/x", "https://*.example", "null", "//a.example", "https://user@a.example/", "https://"} {
		if err := (&settings{CORSOrigins: []string{bad}}).validateOrigins(); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
