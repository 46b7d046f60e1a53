package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quern/internal/store"
)

// Audit writes an audit line, even if the logger's level is above info. Its attributes are act
// (the operation), who (the token, or the user of the command line), target (the object of the
// operation) and outcome (done, refused or failed).
func Audit(ctx context.Context, logger *slog.Logger, attrs ...slog.Attr) {
	record := slog.NewRecord(time.Now(), slog.LevelInfo, "audit", 0)
	record.AddAttrs(attrs...)
	_ = logger.Handler().Handle(ctx, record) // there is no other place for the error
}

// audited returns a middleware that writes an audit line for an act of an operator. Its
// target is what, with the id in the path.
func (s *server) audited(act, what string) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		next(ctx)
		target := what
		if id := ctx.Param("id"); id != "" {
			target += " " + id
		}
		r, w := humago.Unwrap(ctx)
		s.audit(r, act, target, statusOf(w, ctx.Status()))
	}
}

// audit writes an audit line about a request that was answered with a status.
func (s *server) audit(r *http.Request, act, target string, status int) {
	outcome := "done"
	switch {
	case status >= http.StatusInternalServerError:
		outcome = "failed"
	case status >= http.StatusBadRequest:
		outcome = "refused"
	}
	Audit(r.Context(), s.Logger,
		slog.String("act", act), slog.String("who", whoIs(tokenOf(r.Context()))), slog.String("target", target),
		slog.String("outcome", outcome), slog.Int("status", status),
		slog.String("remote", r.RemoteAddr), slog.String("request_id", requestID(r.Context())))
}

// whoIs names a token in audit lines.
func whoIs(token *store.Token) string {
	if token == nil {
		return "no token"
	}
	return "token " + strconv.FormatInt(token.ID, 10) + " (" + token.Name + ")"
}

// statusOf returns the status of a response, which some middlewares write without huma.
func statusOf(w http.ResponseWriter, status int) int {
	if rec, ok := w.(*recorder); ok && rec.status != 0 {
		return rec.status
	}
	return status
}

// auditWrites writes an audit line for each request to a route of operators that writes.
func (s *server) auditWrites(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.audit(r, "console", fmt.Sprintf("%s %s", r.Method, r.URL.Path), statusOf(w, http.StatusOK))
		}
	})
}
