package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quern/internal/db"
	"quern/internal/store"
)

// sessionPath is where the console signs in and out.
const sessionPath = "/v1/session"

// sessionCookie holds the API token of an operator who has signed in. It is the token
// itself, so that every process accepts it and a revoked token ends the session.
const sessionCookie = "quern_session"

// SignIn is the body of a request that signs in.
type SignIn struct {
	Token string `json:"token" example:"quern_n3Qk…" doc:"An API token with scope operate."`
}

// Session is the state of signing in.
type Session struct {
	Required bool          `json:"required" doc:"Whether requests need an API token."`
	Token    *SessionToken `json:"token" doc:"The API token of this request; null if it has no valid one."`
}

// SessionToken describes an API token without its text.
type SessionToken struct {
	ID    int64  `json:"id" example:"3"`
	Name  string `json:"name" example:"ci"`
	Scope string `json:"scope" enum:"read,write,operate" example:"operate"`
}

type sessionGet struct{ strict }

type sessionCreate struct {
	strict
	Body SignIn
}

type sessionDelete struct{ strict }

type sessionFound struct {
	Body Session
}

type sessionChanged struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      Session
}

func (s *server) registerSignIn() {
	tags := s.tag("session", "Signing in to the console.")
	register(s, huma.Operation{
		OperationID: "getSession", Method: http.MethodGet, Path: sessionPath, Tags: tags, Middlewares: huma.Middlewares{unwrapped},
		Summary:     "Show whether an API token is needed",
		Description: "Also returns which API token the request has, if it is valid.",
	}, []code{codeUnavailable, codeTimeout}, s.getSession)
	register(s, huma.Operation{
		OperationID: "signIn", Method: http.MethodPost, Path: sessionPath, Tags: tags, Middlewares: huma.Middlewares{unwrapped},
		Summary: "Sign in",
		Description: "Sets a cookie that browsers send instead of the `Authorization` header, until they are closed. Only pages of this server can use it. " +
			"The API token must have scope `operate`.",
	}, []code{codeUnauthorized, codeForbidden, codeUnavailable, codeTimeout}, s.signIn)
	register(s, huma.Operation{
		OperationID: "signOut", Method: http.MethodDelete, Path: sessionPath, Tags: tags, Middlewares: huma.Middlewares{unwrapped},
		Summary:     "Sign out",
		Description: "Removes the cookie. The API token stays valid.",
	}, []code{codeUnavailable, codeTimeout}, s.signOut)
}

func (s *server) getSession(ctx context.Context, _ *sessionGet) (*sessionFound, error) {
	e := entranceOf(ctx)
	if e.Tokens == nil {
		return &sessionFound{}, nil
	}
	token, p := e.authenticate(connOf(ctx).r)
	if p != nil && p.Code != codeUnauthorized {
		return nil, p
	}
	return &sessionFound{Body: sessionOf(token)}, nil
}

func (s *server) signIn(ctx context.Context, in *sessionCreate) (*sessionChanged, error) {
	r, e := connOf(ctx).r, entranceOf(ctx)
	if e.Tokens == nil {
		// There is nothing to sign in to, and the cookie would only be a secret more.
		return &sessionChanged{SetCookie: cookieOf(r, "")}, nil
	}
	token, p := e.verify(ctx, in.Body.Token)
	if p == nil {
		p = permit(token, db.TokenScopeOperate)
	}
	if c, ok := r.Context().Value(requestKey{}).(*requestContext); ok {
		c.token = token // for the audit line
	}
	if token != nil {
		// Unknown tokens would let anyone fill the log.
		status := http.StatusOK
		if p != nil {
			status = p.Status
		}
		s.audit(r, "sign in", "console", status)
	}
	if p != nil {
		return nil, p
	}
	return &sessionChanged{SetCookie: cookieOf(r, in.Body.Token), Body: sessionOf(token)}, nil
}

func (s *server) signOut(ctx context.Context, _ *sessionDelete) (*sessionChanged, error) {
	return &sessionChanged{SetCookie: cookieOf(connOf(ctx).r, ""), Body: Session{Required: entranceOf(ctx).Tokens != nil}}, nil
}

func sessionOf(token *store.Token) Session {
	session := Session{Required: true}
	if token != nil {
		session.Token = &SessionToken{ID: token.ID, Name: token.Name, Scope: string(token.Scope)}
	}
	return session
}

// cookieOf returns the cookie with a token, or one that removes it if the token is empty.
// Scripts cannot read it, and pages of other sites cannot send it. It is only sent over TLS
// if this request was, also if a proxy ends TLS. A client that claims so falsely only loses
// its cookie.
func cookieOf(r *http.Request, token string) http.Cookie {
	c := http.Cookie{
		Name: sessionCookie, Value: token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
	if token == "" {
		c.MaxAge, c.Expires = -1, time.Unix(1, 0)
	}
	return c
}
