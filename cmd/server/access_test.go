package main

import (
	"bytes"
	"net/http"
	"strings"
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
