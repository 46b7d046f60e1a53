package api

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestRoute(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for request, test := range map[string]struct {
		status int
		code   code
		allow  string
	}{
		"GET /index.html":         {404, codeNotFound, ""},
		"POST /":                  {405, codeMethodNotAllowed, "GET, HEAD"},
		"GET /v1":                 {404, codeNotFound, ""},
		"GET /v1/":                {404, codeNotFound, ""},
		"GET /v1/users/":          {404, codeNotFound, ""},
		"POST /v1/users/":         {404, codeNotFound, ""},
		"GET //v1/users":          {404, codeNotFound, ""},
		"POST //v1/users":         {404, codeNotFound, ""},
		"GET /v1/./users":         {404, codeNotFound, ""},
		"GET /v1/users/1/../2":    {404, codeNotFound, ""},
		"GET /v1/users/1/":        {404, codeNotFound, ""},
		"GET /v1/users/1/posts/2": {404, codeNotFound, ""},
		"GET /V1/users":           {404, codeNotFound, ""},
		"GET /v1/usernames/":      {404, codeNotFound, ""},
		"GET /v1/usernames/a/b":   {404, codeNotFound, ""},
		"GET /openapi":            {404, codeNotFound, ""},
		"GET /openapi-3.0.json":   {404, codeNotFound, ""},
		"GET /schemas/User.json":  {404, codeNotFound, ""},
		"PUT /v1/users/1":         {405, codeMethodNotAllowed, "DELETE, GET, HEAD, PATCH"},
		"DELETE /v1/users":        {405, codeMethodNotAllowed, "GET, HEAD, PATCH, POST"},
		"OPTIONS /v1/users":       {405, codeMethodNotAllowed, "GET, HEAD, PATCH, POST"},
		"POST /v1/posts/1":        {405, codeMethodNotAllowed, "DELETE, GET, HEAD, PATCH"},
		"POST /v1/stats/overview": {405, codeMethodNotAllowed, "GET, HEAD"},
		"POST /livez":             {405, codeMethodNotAllowed, "GET, HEAD"},
		"BREW /docs":              {405, codeMethodNotAllowed, "GET, HEAD"},
	} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			method, path, _ := strings.Cut(request, " ")
			a := c.do(method, path, "")
			a.problem(test.status, test.code)
			if got := a.header.Get("Allow"); got != test.allow {
				t.Errorf("Allow %q, want %q", got, test.allow)
			}
		})
	}
	// A HEAD has the headers of the GET.
	get, head := c.get("/v1/users"), c.do("HEAD", "/v1/users", "").want(200)
	if head.body != "" || head.header.Get("Content-Type") != "application/json" || head.header.Get("Content-Length") != fmt.Sprint(len(get.body)) {
		t.Errorf("HEAD: %v %q", head.header, head.body)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for _, path := range []string{"/v1/users", "/v1/users/0", "/v1/users/x", "/nowhere", "/livez"} {
		h := c.do("GET", path, "").header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	seen := map[string]bool{}
	for sent, kept := range map[string]bool{
		"abc":                    true,
		"A-Z_0.9:/+=@":           true,
		strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false,
		"a b":                    false,
		"a\tb":                   false,
		"é":                      false,
		`a"b`:                    false,
		"":                       false,
	} {
		got := c.do("GET", "/livez", "", "X-Request-Id", sent).header.Get("X-Request-Id")
		if (got == sent) != kept || !goodRequestID(got) || seen[got] {
			t.Errorf("%q came back as %q", sent, got)
		}
		seen[got] = true
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	log := &logged{}
	c := newClient(t, func(cfg *Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	c.do("GET", "/v1/users/0?secret=1", "", "X-Request-Id", "quoted-3")
	c.do("GET", "/v1/users?include=posts", "")
	c.db.CreateUser(t)
	c.do("GET", "/v1/users?include=posts", "")
	// The log line is written after the response.
	for range 1000 {
		if strings.Count(log.String(), "\n") == 3 {
			break
		}
		c.get("/livez")
	}
	got := log.String()
	for _, want := range []string{"request_id=quoted-3", "path=/v1/users/0", "status=422", "statements=3", "method=GET"} {
		if !strings.Contains(got, want) {
			t.Errorf("logged %q, want %s in it", got, want)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("the query is logged: %s", got)
	}
}
