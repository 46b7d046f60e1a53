package api

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// refusalCounts counts the calls of RequestRefused.
type refusalCounts struct {
	mu    sync.Mutex
	count map[string]int // by status and reason
}

func (r *refusalCounts) set(c *Config) {
	r.count = map[string]int{}
	c.RequestRefused = func(status int, reason string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.count[fmt.Sprint(status, " ", reason)]++
	}
}

func (r *refusalCounts) get() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.count)
}

// TestRefusals refuses a request for each reason, and counts what RequestRefused is called with. A
// request that is let in is not counted, whatever its status.
func TestRefusals(t *testing.T) {
	t.Parallel()
	var counts refusalCounts
	g := newGuarded(t, counts.set, func(c *Config) {
		c.AllowedHosts = []string{"localhost"}
		c.TokenLimits = TokenLimits{Rate: 0.001, Burst: 4}
	})
	want := map[string]int{}
	for _, c := range []struct {
		token, method, path, body string
		header                    []string
		status                    int
		reason                    string
	}{
		{"", "GET", "/livez", "", nil, 200, ""},
		{"", "GET", "/v1/users", "", nil, 401, "no_token"},
		{"", "GET", "/metrics", "", nil, 401, "no_token"},
		{"quern_wrong", "GET", "/v1/users", "", nil, 401, "invalid_token"},
		{"", "GET", "/v1/session", "", nil, 200, ""},
		{"", "POST", "/v1/session", `{"token":"quern_wrong"}`, nil, 401, "invalid_token"},
		{"", "POST", "/v1/session", `{"token":"` + g.read + `"}`, nil, 403, "insufficient_scope"},
		{"", "POST", "/v1/session", `{"token":1}`, nil, 422, ""},
		{g.read, "DELETE", "/v1/users/1", "", nil, 403, "insufficient_scope"},
		{g.read, "GET", "/console/api/overview", "", nil, 403, "insufficient_scope"},
		{g.read, "GET", "/v1/users/9", "", nil, 404, ""},
		{g.read, "GET", "/v1/users/export", "", nil, 200, ""},
		{g.read, "GET", "/v1/users", "", nil, 429, "rate_limited"},
		{g.write, "POST", "/v1/users", newBob, []string{"Sec-Fetch-Site", "cross-site"}, 403, "cross_origin"},
	} {
		if c.token != "" {
			c.header = append(c.header, "Authorization", "Bearer "+c.token)
		}
		if a := g.do(c.method, c.path, c.body, c.header...); a.status != c.status {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, a.status, c.status, a.body)
		}
		if c.reason != "" {
			want[fmt.Sprint(c.status, " ", c.reason)]++
		}
	}
	if status := raw(t, g.url, "GET /livez HTTP/1.1\nHost: evil.example"); status != 421 {
		t.Errorf("another host: %d, want 421", status)
	}
	want["421 misdirected_request"]++
	if diff := cmp.Diff(want, counts.get()); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	for reason, status := range Refusals {
		// TestTokenLimits_Bulk has the reason that is missing here.
		if want[fmt.Sprint(status, " ", reason)] == 0 && reason != string(codeBulkLimited) {
			t.Errorf("nothing was refused as %d %s", status, reason)
		}
	}
}
