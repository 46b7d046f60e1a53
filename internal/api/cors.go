package api

import (
	"net/http"
	"slices"

	"github.com/rs/cors"
)

// crossOrigin allows the pages of CORSOrigins to use the API from a browser. It returns nil
// if there are none.
func (s *server) crossOrigin() *cors.Cors {
	if len(s.CORSOrigins) == 0 {
		return nil
	}
	return cors.New(cors.Options{
		AllowedOrigins: s.CORSOrigins,
		AllowedMethods: methods,
		AllowedHeaders: []string{
			"Authorization", "Content-Type", "Content-Encoding", idempotencyKey, "If-Match", "If-None-Match", consistencyToken,
			"X-Request-Id", "Traceparent", "Tracestate",
		},
		ExposedHeaders: []string{
			"ETag", "Location", "Link", consistencyToken, "Retry-After", "Idempotency-Replayed", "X-Request-Id", "Server-Timing",
			"Content-Disposition", "WWW-Authenticate",
		},
		// Allows the cookie with the consistency token. Browsers reject credentials with *.
		AllowCredentials: !slices.Contains(s.CORSOrigins, "*"),
		MaxAge:           600, // Chromium's limit is 7200
	})
}

// fromAllowedOrigin reports whether CORSOrigins contains the origin of a request.
func fromAllowedOrigin(c *cors.Cors, r *http.Request) bool {
	return c != nil && r.Header.Get("Origin") != "" && c.OriginAllowed(r)
}
