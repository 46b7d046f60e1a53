package api

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/store"
)

// guarded is a client of a server that demands API tokens, with one of each scope.
type guarded struct {
	*client
	read, write, operate string
}

func newGuarded(t *testing.T, change ...func(*Config)) *guarded {
	t.Helper()
	g := &guarded{}
	g.client = newClient(t, append([]func(*Config){func(c *Config) {
		c.Tokens = store.NewTokens(c.Queries, c.Logger)
		c.Console = pages{}
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("metrics")) })
		c.Logger = slog.New(slog.NewTextHandler(g, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}}, change...)...)
	for scope, text := range map[db.TokenScope]*string{db.TokenScopeRead: &g.read, db.TokenScopeWrite: &g.write, db.TokenScopeOperate: &g.operate} {
		created, err := g.db.Store.CreateToken(t.Context(), store.NewToken{Name: "of " + string(scope), Scope: scope})
		if err != nil {
			t.Fatal(err)
		}
		*text = created.Text
	}
	return g
}

// pages is a console.
type pages struct{}

func (pages) Page() http.Handler { return pages{}.Handler() }

func (pages) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("console")) })
}

// Write is of the log.
func (g *guarded) Write(p []byte) (int, error) { return g.log.Write(p) }

// with sends a request with an API token.
func (g *guarded) with(token, method, path, body string, headers ...string) *answer {
	g.t.Helper()
	return g.do(method, path, body, append([]string{"Authorization", "Bearer " + token}, headers...)...)
}

const newBob = `{"username":"bob","email":"bob@example.com"}`

func TestAccess_Scopes(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	for _, test := range []struct {
		method, path, body   string
		read, write, operate int
	}{
		{"GET", "/v1/users", "", 200, 200, 200},
		{"HEAD", "/v1/users", "", 200, 200, 200},
		{"GET", "/v1/users/export", "", 200, 200, 200},
		{"GET", "/v1/stats/overview", "", 200, 200, 200},
		{"GET", "/v1/users/99", "", 404, 404, 404},
		{"GET", "/nowhere", "", 404, 404, 404},
		{"DELETE", "/v1/users/99", "", 403, 404, 404},
		{"PATCH", "/v1/users/99", `{"age":1}`, 403, 404, 404},
		{"POST", "/v1/tasks/99/cancel", "", 403, 404, 404},
		{"POST", "/v1/tasks/claim", `{"worker":"w","limit":1,"lease_seconds":60}`, 403, 200, 200},
		{"GET", "/metrics", "", 403, 403, 200},
		{"GET", "/console/api/overview", "", 403, 403, 200},
		{"POST", "/console/api/plans", "", 403, 403, 200},
	} {
		for token, want := range map[string]int{g.read: test.read, g.write: test.write, g.operate: test.operate} {
			a := g.with(token, test.method, test.path, test.body).want(want)
			challenge := a.header.Get("WWW-Authenticate")
			if want == 403 {
				a.problem(403, codeForbidden)
			}
			if (want == 403) != strings.HasPrefix(challenge, `Bearer realm="quern", error="insufficient_scope", scope="`) {
				t.Errorf("%s %s: %d with WWW-Authenticate %q", test.method, test.path, want, challenge)
			}
		}
	}
	if p := g.with(g.read, "POST", "/v1/users", newBob).problem(403, codeForbidden); !strings.Contains(p.Detail, "scope read") || !strings.Contains(p.Detail, "needs write") {
		t.Errorf("the problem does not say what to do: %s", p.Detail)
	}
	g.with(g.write, "POST", "/v1/users", newBob).want(201)
}

// Every operation of the document and every other route but the open ones needs a token.
func TestAccess_Closed(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	s := newServer(Config{})
	open := []string{"/livez", "/readyz", sessionPath}
	operations(s.api.OpenAPI(), func(op *huma.Operation) {
		path := strings.NewReplacer("{id}", "1", "{username}", "a").Replace(op.Path)
		a := g.do(op.Method, path, "{}")
		documented := op.Responses["401"] != nil && op.Responses["403"] != nil
		switch isOpen := strings.Contains(strings.Join(open, " "), op.Path); {
		case isOpen && a.status == 401:
			t.Errorf("%s %s needs a token", op.Method, op.Path)
		case !isOpen && !documented:
			t.Errorf("%s %s does not document 401 and 403", op.Method, op.Path)
		case !isOpen:
			if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="quern"` {
				t.Errorf("%s %s: WWW-Authenticate %q", op.Method, op.Path, got)
			}
			if p := a.problem(401, codeUnauthorized); !strings.Contains(p.Detail, "Authorization: Bearer") {
				t.Errorf("the problem does not say what to do: %s", p.Detail)
			}
		}
	})
	for _, path := range []string{
		"/console/api/overview", "/console/api/", "/console/%61pi/overview", "/console/./api/overview", "/console/%2e/api/overview", "/console//api/overview",
		"/metrics", "/nowhere", "/v1/users/1/", "/docs/../v1/users", "/docs/%2e%2e/v1/users", "/docs/nothing", "//livez",
	} {
		g.do("GET", path, "").problem(401, codeUnauthorized)
	}
	for _, path := range []string{"/", "/console/app.js", "/docs", "/docs/init.js", "/openapi.json", "/openapi.yaml", "/livez", "/readyz"} {
		g.get(path)
	}
}

func TestAccess_Refused(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	for name, header := range map[string]string{
		"Unknown": "Bearer " + g.read[:len(g.read)-5] + "AAAAA", "Empty": "Bearer", "Basic": "Basic " + g.read, "Bare": g.read, "Foreign": "Bearer ey.ey.sig",
	} {
		a := g.do("GET", "/v1/users", "", "Authorization", header)
		a.problem(401, codeUnauthorized)
		if strings.Contains(header, "Bearer ") != strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
			t.Errorf("%s: WWW-Authenticate %q", name, a.header.Get("WWW-Authenticate"))
		}
	}
	g.do("GET", "/v1/users", "", "Authorization", "Bearer "+g.read, "Authorization", "Bearer "+g.write).problem(401, codeUnauthorized)
	g.do("GET", "/v1/users", "", "Authorization", "bearer  "+g.read).want(200) // RFC 9110: the scheme's case does not matter

	id := g.tokenID(g.write)
	if _, err := g.db.Store.RevokeToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	g.awaitStatus(401, func() int { return g.with(g.write, "GET", "/v1/users", "").status })
	// The cookie of a revoked token ends too.
	g.do("GET", "/v1/users", "", "Cookie", sessionCookie+"="+g.write).problem(401, codeUnauthorized)
}

// tokenID returns the id of a token.
func (g *guarded) tokenID(token string) int64 {
	g.t.Helper()
	var s Session
	g.with(token, "GET", sessionPath, "").into(&s)
	if s.Token == nil || !s.Required {
		g.t.Fatalf("session: %+v", s)
	}
	return s.Token.ID
}

// A request is not let in if its token cannot be verified.
func TestAccess_Unavailable(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.db.Exec(t, "ALTER TABLE api_tokens RENAME TO away")
	a := g.with(g.operate, "GET", "/v1/users", "")
	a.problem(503, codeUnavailable)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	g.do("POST", sessionPath, `{"token":"`+g.operate+`"}`).problem(503, codeUnavailable)
	g.get("/livez")
}

// No token is in the log, in an answer or in a header, whether it is valid or not.
func TestAccess_NoTokenIsSaid(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	unknown := g.read[:len(g.read)-5] + "AAAAA"
	signIn := g.do("POST", sessionPath, `{"token":"`+g.operate+`"}`).want(200)
	said := signIn.body
	for _, token := range []string{g.read, g.write, g.operate, unknown} {
		for _, a := range []*answer{
			g.with(token, "GET", "/v1/users", ""), g.with(token, "POST", "/v1/users", "{"), g.with(token, "POST", "/v1/users/bulk-delete", `[{"id":1}]`),
			g.with(token, "GET", "/metrics", ""), g.do("POST", sessionPath, `{"token":"`+token+`","more":1}`), g.do("GET", sessionPath, "", "Cookie", sessionCookie+"="+token),
			g.do("DELETE", "/v1/users/1", "", "Cookie", sessionCookie+"="+token, "Sec-Fetch-Site", "same-site"),
		} {
			said += a.body
			for name, lines := range a.header {
				said += name + strings.Join(lines, " ")
			}
		}
	}
	for _, token := range []string{g.read, g.write, g.operate, unknown} {
		if secret := token[6:]; strings.Contains(said+g.log.String(), secret) {
			t.Errorf("the token %s is said:\n%s\n%s", token, said, g.log)
		}
	}
}
