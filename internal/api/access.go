package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"quern/internal/db"
	"quern/internal/store"
)

// tokenScheme is the name of the security scheme in the OpenAPI document.
const tokenScheme = "token"

// realm is the protection space of RFC 9110, section 11.5.
const realm = `Bearer realm="quern"`

// open are the paths that need no API token: the probes, because kubelets and load balancers
// have none, and signing in. serve adds the documentation, which has no data. Paths are
// compared as they are, so none leads anywhere else.
func open() map[string]bool {
	return map[string]bool{"/": true, "/livez": true, "/readyz": true, sessionPath: true}
}

// The console's files have no data and show the page on which one signs in.
const (
	consoleFiles = "/console/"
	consoleData  = "/console/api/"
)

// isOpen reports whether a path needs no API token.
func (s *server) isOpen(path string) bool {
	return s.open[path] || strings.HasPrefix(path, consoleFiles) && !strings.HasPrefix(path, consoleData) && isClean(path)
}

// authorize rejects requests without a valid API token, and those that its scope does not
// include. It is closed by default: a new route needs a token without being listed here.
// A route for operators checks their scope itself.
func (s *server) authorize(e *entrance, next http.Handler) http.Handler {
	if e.Tokens == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.isOpen(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		token, p := e.authenticate(r)
		if c, ok := r.Context().Value(requestKey{}).(*requestContext); ok {
			c.token = token
		}
		if p == nil {
			p = s.limits.admit(token)
		}
		if p == nil {
			p = permit(token, scopeOf(r.Method))
		}
		if p != nil {
			refuse(w, r, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// scopeOf returns the scope that a request of the API needs.
func scopeOf(method string) db.TokenScope {
	if method == http.MethodGet || method == http.MethodHead {
		return db.TokenScopeRead
	}
	return db.TokenScopeWrite
}

// apart hides a route from an entrance that has none of operators.
func apart(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !entranceOf(r.Context()).operators {
			noRoute().write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// operators allows a route only to operators, and writes an audit line for each request that
// writes, also for a refused one.
func (s *server) operators(next http.Handler) http.Handler {
	return apart(s.auditWrites(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if entranceOf(r.Context()).Tokens != nil {
			if p := permit(tokenOf(r.Context()), db.TokenScopeOperate); p != nil {
				refuse(w, r, p)
				return
			}
		}
		next.ServeHTTP(w, r)
	})))
}

// authenticate returns the valid token of a request, or a problem. Without an Authorization
// header, it may be that of the console's cookie.
func (e *entrance) authenticate(r *http.Request) (*store.Token, *Problem) {
	if text, ok := bearer(r.Header); ok {
		return e.verify(r.Context(), text)
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil || len(r.Header["Authorization"]) > 0 {
		return nil, unauthorized("")
	}
	// A browser also sends the cookie for pages of other ports and subdomains of this host,
	// which may be those of CORSOrigins. They need a token themselves.
	if e.fromOtherOrigin(r) {
		if scopeOf(r.Method) == db.TokenScopeRead {
			return nil, unauthorized("")
		}
		return nil, newProblem(codeCrossOrigin)
	}
	return e.verify(r.Context(), cookie.Value)
}

// verify returns the valid token of a text, or a problem.
func (e *entrance) verify(ctx context.Context, text string) (*store.Token, *Problem) {
	token, err := e.Tokens.Verify(ctx, text)
	switch {
	case err == nil:
		return token, nil
	case errors.Is(err, store.ErrTokenInvalid):
		return nil, unauthorized(wrongToken)
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, newProblem(codeClientClosed)
	}
	// The token could not be verified, so the request is not let in, for any error.
	p := newProblem(codeUnavailable)
	p.header = retryAfter(codeUnavailable)
	return nil, p
}

// bearer returns the token of the header Authorization: Bearer TOKEN.
func bearer(h http.Header) (text string, ok bool) {
	lines := h["Authorization"]
	if len(lines) != 1 {
		return "", false
	}
	scheme, text, ok := strings.Cut(lines[0], " ")
	return strings.TrimLeft(text, " "), ok && strings.EqualFold(scheme, "Bearer")
}

// unauthorized returns the problem of a request without a valid token. The reason is an
// error code of RFC 6750, section 3.1, or empty if the request has no token.
func unauthorized(reason string) *Problem {
	p := newProblem(codeUnauthorized)
	p.reason = cmp.Or(reason, noToken)
	challenge := realm
	if reason != "" {
		challenge += `, error="` + reason + `"`
		p.Detail = "The API token is unknown, expired or revoked. The operator creates one with `server token create`."
	}
	p.header = http.Header{"Www-Authenticate": {challenge}}
	return p
}

// permit returns a problem unless the token's scope includes the needed one.
func permit(token *store.Token, needed db.TokenScope) *Problem {
	if token == nil {
		return unauthorized("")
	}
	if token.Allows(needed) {
		return nil
	}
	p := newProblem(codeForbidden)
	p.reason = smallScope
	p.Detail = "The API token has scope " + string(token.Scope) + ", and this request needs " + string(needed) + "."
	p.header = http.Header{"Www-Authenticate": {realm + `, error="` + smallScope + `", scope="` + string(needed) + `"`}}
	return p
}
