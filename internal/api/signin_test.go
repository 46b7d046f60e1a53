package api

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// awaitStatus waits until a request is answered with a status.
func (g *guarded) awaitStatus(want int, status func() int) {
	g.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for got := 0; got != want; time.Sleep(5 * time.Millisecond) {
		if got = status(); time.Now().After(deadline) {
			g.t.Fatalf("still %d, want %d", got, want)
		}
	}
}

// cookie returns the session cookie that an answer sets.
func cookie(t *testing.T, a *answer) *http.Cookie {
	t.Helper()
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == sessionCookie {
			return c
		}
	}
	t.Fatalf("no session cookie: %v", a.header)
	return nil
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	var before Session
	if g.get(sessionPath).into(&before); !before.Required || before.Token != nil {
		t.Errorf("before: %+v", before)
	}
	a := g.do("POST", sessionPath, `{"token":"`+g.operate+`"}`).want(200)
	c := cookie(t, a)
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" || c.Value != g.operate || c.MaxAge != 0 {
		t.Errorf("cookie: %s", c)
	}
	var session Session
	if a.into(&session); session.Token == nil || session.Token.Scope != "operate" || strings.Contains(a.body, g.operate) {
		t.Errorf("session: %s", a.body)
	}
	if c := cookie(t, g.do("POST", sessionPath, `{"token":"`+g.operate+`"}`, "X-Forwarded-Proto", "https")); !c.Secure {
		t.Errorf("through a proxy with TLS: %s", c)
	}
	signedIn := []string{"Cookie", sessionCookie + "=" + c.Value, "Sec-Fetch-Site", "same-origin"}
	g.do("GET", "/metrics", "", signedIn...).want(200)
	g.do("POST", "/v1/users", newBob, signedIn...).want(201)

	if c := cookie(t, g.do("DELETE", sessionPath, "", signedIn...).want(200)); c.Value != "" || c.MaxAge >= 0 {
		t.Errorf("signing out leaves %s", c)
	}
	for _, token := range []string{g.read, g.write} {
		a := g.do("POST", sessionPath, `{"token":"`+token+`"}`)
		if a.problem(403, codeForbidden); len(a.header["Set-Cookie"]) > 0 {
			t.Errorf("a refusal sets %v", a.header["Set-Cookie"])
		}
	}
	g.do("POST", sessionPath, `{"token":"quern_no"}`).problem(401, codeUnauthorized)
}

// A page of another origin cannot use the session, even if it may use the API.
func TestSignIn_OtherOrigin(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, func(c *Config) { c.CORSOrigins = []string{"http://app.example.com"} })
	session := []string{"Cookie", sessionCookie + "=" + g.operate}
	for name, headers := range map[string][]string{
		"CrossSite": {"Sec-Fetch-Site", "cross-site"},
		"SameSite":  {"Sec-Fetch-Site", "same-site"},
		"Origin":    {"Origin", "http://evil.example"},
		"OtherPort": {"Origin", "http://127.0.0.1:1"},
		"CORS":      {"Origin", "http://app.example.com", "Sec-Fetch-Site", "cross-site"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &guarded{client: g.on(t)}
			headers := append(session, headers...)
			g.do("POST", "/v1/users", newBob, headers...).problem(403, codeCrossOrigin)
			g.do("DELETE", "/v1/users/1", "", headers...).problem(403, codeCrossOrigin)
			g.do("GET", "/v1/users", "", headers...).problem(401, codeUnauthorized)
			if name != "CORS" {
				g.do("DELETE", sessionPath, "", headers...).problem(403, codeCrossOrigin)
			}
		})
	}
	// With a token that the page has itself, the origin may use the API as before.
	g.with(g.write, "POST", "/v1/users", newBob, "Origin", "http://app.example.com").want(201)
	preflight := g.do("OPTIONS", "/v1/users", "", "Origin", "http://app.example.com", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
	if got := preflight.header.Get("Access-Control-Allow-Headers"); !strings.EqualFold(got, "authorization") {
		t.Errorf("the preflight allows %q", got)
	}
}

// Without tokens there is nothing to sign in to.
func TestSignIn_Open(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	var session Session
	if c.get(sessionPath).into(&session); session.Required || session.Token != nil {
		t.Errorf("session: %+v", session)
	}
	if got := cookie(t, c.do("POST", sessionPath, `{"token":"quern_x"}`).want(200)); got.Value != "" {
		t.Errorf("it sets %s", got)
	}
}
