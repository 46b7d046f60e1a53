package api

import (
	"context"
	"net/http"
)

// Refusals are the reasons why a request may be refused before its operation, each with the
// status. A sign-in that is refused has them, too.
var Refusals = map[string]int{
	noToken:                 http.StatusUnauthorized,
	wrongToken:              http.StatusUnauthorized,
	smallScope:              http.StatusForbidden,
	string(codeCrossOrigin): http.StatusForbidden,
	string(codeMisdirected): http.StatusMisdirectedRequest,
	string(codeRateLimited): http.StatusTooManyRequests,
	string(codeBulkLimited): http.StatusTooManyRequests,
}

// The reasons of 401 and 403 are more specific than the codes of the problems. The second and
// third are the error codes of RFC 6750, section 3.1.
const (
	noToken    = "no_token"
	wrongToken = "invalid_token" // unknown, expired or revoked
	smallScope = "insufficient_scope"
)

// refused notes why a request is refused, for the metric. Its context is that of the request.
func refused(ctx context.Context, p *Problem) *Problem {
	reason := p.reason
	if reason == "" {
		reason = string(p.Code)
	}
	if _, is := Refusals[reason]; !is {
		return p
	}
	if c, ok := ctx.Value(requestKey{}).(*requestContext); ok {
		c.refused = reason
	}
	return p
}

// refuse responds with the problem of a refused request.
func refuse(w http.ResponseWriter, r *http.Request, p *Problem) { refused(r.Context(), p).write(w) }
