package main

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"quern/internal/storetest"
	"quern/pgtest"
)

// createToken runs `server token create` and returns the token.
func createToken(t *testing.T, database, scope string) string {
	t.Helper()
	c := command(t, t.TempDir(), []string{"DATABASE_URL=" + database}, "token", "create", "--scope", scope, "--name", "test "+scope)
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %s", err, c.stderr)
	}
	if token := strings.TrimSpace(out.String()); strings.Contains(c.stderr.String(), token) {
		t.Errorf("the token is on standard error, too: %s", c.stderr)
	}
	if !strings.Contains(c.stderr.String(), "msg=audit act=\"token create\" who=\"command line: ") {
		t.Errorf("no audit line: %s", c.stderr)
	}
	return strings.TrimSpace(out.String())
}

// status sends a GET with a token, unless it is empty.
func (p *process) status(t *testing.T, path, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", p.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Beyond loopback the service starts only with tokens or with --insecure. On loopback it is
// open unless AUTH demands tokens.
func TestServe_Tokens(t *testing.T) {
	t.Parallel()
	const beyond = "LISTEN=0.0.0.0:0"
	t.Run("None", func(t *testing.T) {
		t.Parallel()
		c := command(t, t.TempDir(), []string{beyond, "DATABASE_URL=" + storetest.NewURL(t)})
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if code := c.exit(t); code != exitFailure || !strings.Contains(c.stderr.String(), "there is no valid API token") || !strings.Contains(c.stderr.String(), "--insecure") {
			t.Errorf("exit %d: %s", code, c.stderr)
		}
	})
	for name, test := range map[string]struct {
		env   []string
		token bool
		open  int // status of /v1/users without a token
		warns string
	}{
		"Beyond":         {[]string{beyond}, true, 401, ""},
		"Insecure":       {[]string{beyond, "INSECURE=true"}, false, 200, "INSECURE is set"},
		"Loopback":       {nil, true, 200, ""},
		"LoopbackTokens": {[]string{"AUTH=tokens"}, true, 401, ""},
		"LoopbackNone":   {[]string{"AUTH=tokens"}, false, 401, "there is no valid API token"},
		// No token can be verified before the migrations, so no request is let in.
		"Pending": {[]string{beyond, "MIGRATE=false"}, false, 503, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := storetest.NewURL(t)
			if name == "Pending" {
				database = pgtest.EmptyURL(t)
			}
			token := ""
			if test.token {
				token = createToken(t, database, "read")
			}
			p := serve(t, t.TempDir(), append(test.env, "DATABASE_URL="+database)...)
			p.base = strings.Replace(p.base, "localhost", "127.0.0.1", 1)
			sent := ""
			if name == "Pending" {
				sent = "quern_0123456789012345678901234567890123456789012"
			}
			if got := p.status(t, "/v1/users", sent); got != test.open {
				t.Errorf("without a token: %d, want %d", got, test.open)
			}
			if token != "" {
				if got := p.status(t, "/v1/users", token); got != 200 {
					t.Errorf("with a token: %d", got)
				}
				if got := p.status(t, "/metrics", token); (got == 403) != (test.open == 401) {
					t.Errorf("metrics with a token that may only read: %d", got)
				}
			}
			if got := p.status(t, "/livez", ""); got != 200 {
				t.Errorf("livez: %d", got)
			}
			if warned := strings.Contains(p.stderr.String(), "level=WARN"); warned != (test.warns != "") && name != "Pending" || !strings.Contains(p.stderr.String(), test.warns) {
				t.Errorf("it warns %q, want %q", p.stderr, test.warns)
			}
			_, announced := p.banner["Access"]
			if announced != (test.open != 200) {
				t.Errorf("the banner has Access: %t", announced)
			}
		})
	}
}

// With OPERATOR_LISTEN, the routes of operators are there, and not at LISTEN. Each address
// demands tokens by itself.
func TestServe_OperatorListen(t *testing.T) {
	t.Parallel()
	database := storetest.NewURL(t)
	read, operate := createToken(t, database, "read"), createToken(t, database, "operate")
	p := serve(t, t.TempDir(), "DATABASE_URL="+database, "LISTEN=0.0.0.0:0", "OPERATOR_LISTEN=127.0.0.1:0")
	p.base = strings.Replace(p.base, "localhost", "127.0.0.1", 1)
	operators := &process{base: strings.TrimSuffix(p.banner["Console"], "/")}
	if p.banner["Metrics"] != operators.base+"/metrics" {
		t.Errorf("banner: %v", p.banner)
	}
	for path, want := range map[string]int{"/metrics": 404, "/console/": 404, "/console/app.js": 404, "/console/api/overview": 404, "/v1/users": 200, "/readyz": 200, "/docs": 200} {
		if got := p.status(t, path, operate); got != want {
			t.Errorf("LISTEN: %s: %d, want %d", path, got, want)
		}
		if got := operators.status(t, path, ""); got != 200 {
			t.Errorf("OPERATOR_LISTEN: %s: %d, want 200", path, got)
		}
	}
	if got := p.status(t, "/v1/users", ""); got != 401 {
		t.Errorf("LISTEN without a token: %d", got)
	}
	for base, console := range map[string]bool{p.base: false, operators.base: true} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", base+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := bytes.Contains(page, []byte("/console/app.js")); err != nil || got != console {
			t.Errorf("%s/ is the console: %t, want %t (%v)", base, got, console, err)
		}
		if links := bytes.Contains(page, []byte(`"/metrics"`)); links && !console {
			t.Errorf("%s/ links to /metrics", base)
		}
	}
	if code := p.end(t, syscall.SIGTERM); code != exitSuccess {
		t.Errorf("exit %d", code)
	}

	// Beyond loopback the operators' address demands tokens too, of their scope.
	p = serve(t, t.TempDir(), "DATABASE_URL="+database, "OPERATOR_LISTEN=0.0.0.0:0")
	operators.base = strings.Replace(strings.TrimSuffix(p.banner["Console"], "/"), "localhost", "127.0.0.1", 1)
	for token, want := range map[string]int{"": 401, read: 403, operate: 200} {
		if got := operators.status(t, "/metrics", token); got != want {
			t.Errorf("beyond loopback: %d, want %d", got, want)
		}
	}
	if got := p.status(t, "/v1/users", ""); got != 200 {
		t.Errorf("LISTEN on loopback: %d", got)
	}
	p.end(t, syscall.SIGTERM)

	c := command(t, t.TempDir(), []string{"DATABASE_URL=" + storetest.NewURL(t), "OPERATOR_LISTEN=0.0.0.0:0"})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if code := c.exit(t); code != exitFailure || !strings.Contains(c.stderr.String(), "OPERATOR_LISTEN is 0.0.0.0:0, beyond loopback, and there is no valid API token") {
		t.Errorf("exit %d: %s", code, c.stderr)
	}
}
