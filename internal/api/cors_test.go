package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestCORS sends the requests that a browser sends for a page of another origin.
func TestCORS(t *testing.T) {
	t.Parallel()
	const (
		ours  = "https://app.example.com"
		other = "https://evil.example"
	)
	for name, test := range map[string]struct {
		origins            []string
		origin             string
		allowed            string // Access-Control-Allow-Origin
		credentials, write bool
	}{
		"Off":         {nil, ours, "", false, false},
		"Listed":      {[]string{"http://localhost:5173", ours}, ours, ours, true, true},
		"Other":       {[]string{ours}, other, "", false, false},
		"OtherPort":   {[]string{ours}, ours + ":8443", "", false, false},
		"OtherScheme": {[]string{ours}, "http://app.example.com", "", false, false},
		"Below":       {[]string{ours}, "https://x.app.example.com", "", false, false},
		"Null":        {[]string{ours}, "null", "", false, false},
		"All":         {[]string{"*"}, other, "*", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, func(cfg *Config) { cfg.CORSOrigins, cfg.AllowedHosts = test.origins, []string{"127.0.0.1"} })
			check := func(what string, a *answer) {
				h := a.header
				if got := h.Get("Access-Control-Allow-Origin"); got != test.allowed {
					t.Errorf("%s: Access-Control-Allow-Origin %q, want %q", what, got, test.allowed)
				}
				if got := h.Get("Access-Control-Allow-Credentials") == "true"; got != test.credentials {
					t.Errorf("%s: with credentials %t, want %t", what, got, test.credentials)
				}
				if varies := slices.Contains(h.Values("Vary"), "Origin") || strings.Contains(h.Get("Vary"), "Origin"); test.origins != nil && test.allowed != "*" && !varies {
					t.Errorf("%s: Vary is %q, and the answer depends on Origin", what, h.Values("Vary"))
				}
			}
			for _, method := range []string{"POST", "PATCH", "DELETE"} {
				a := c.do("OPTIONS", "/v1/users/1", "", "Origin", test.origin, "Access-Control-Request-Method", method,
					"Access-Control-Request-Headers", "consistency-token,content-type,idempotency-key,if-match")
				check("preflight of "+method, a)
				if test.allowed == "" {
					continue
				}
				if a.status >= 300 || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), method) ||
					!strings.EqualFold(a.header.Get("Access-Control-Allow-Headers"), "consistency-token,content-type,idempotency-key,if-match") {
					t.Errorf("preflight of %s: %d %v", method, a.status, a.header)
				}
			}
			created := c.do("POST", "/v1/users", `{"username":"ada","email":"x"}`, "Origin", test.origin, "Sec-Fetch-Site", "cross-site")
			check("POST", created)
			if test.write {
				created.want(201)
			} else {
				created.problem(403, codeCrossOrigin)
			}
			// Without permission to write, the page can send the request but cannot read the
			// response.
			read := c.do("GET", "/v1/users", "", "Origin", test.origin, "Sec-Fetch-Site", "cross-site").want(200)
			check("GET", read)
			if test.allowed != "" {
				exposed := strings.ToLower(read.header.Get("Access-Control-Expose-Headers"))
				for _, name := range []string{"ETag", "Location", "Consistency-Token", "Retry-After", "Idempotency-Replayed"} {
					if !strings.Contains(exposed, strings.ToLower(name)) {
						t.Errorf("the page cannot read %s: %s", name, exposed)
					}
				}
			}
			// A problem can be read, too.
			missing := c.do("GET", "/v1/users/999", "", "Origin", test.origin)
			check("problem", missing)
			missing.problem(404, codeNotFound)
			// Another Host is rejected for any origin.
			r, err := http.NewRequestWithContext(t.Context(), "GET", c.url+"/v1/users", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = "evil.example"
			r.Header.Set("Origin", test.origin)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusMisdirectedRequest {
				t.Errorf("another Host is answered with %d", resp.StatusCode)
			}
		})
	}
}
