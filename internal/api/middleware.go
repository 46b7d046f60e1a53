package api

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"quern/internal/postgres"
)

// handler puts around the routes what every request gets.
func (s *server) handler() http.Handler {
	return s.observe(http.HandlerFunc(s.route))
}

// route answers as the ServeMux does, except that what it would refuse in plain
// text or redirect is a problem.
func (s *server) route(w http.ResponseWriter, r *http.Request) {
	refuse, pattern := s.mux.Handler(r)
	switch {
	case pattern != "" && isClean(r.URL.EscapedPath()):
		s.mux.ServeHTTP(w, r)
		return
	case pattern != "":
		// It would be redirected to another path, which turns a POST into a GET.
	default:
		// What the ServeMux would say tells a wrong method from a wrong path.
		said := refusal{header: http.Header{}}
		refuse.ServeHTTP(&said, r)
		if said.status == http.StatusMethodNotAllowed {
			p := newProblem(codeMethodNotAllowed)
			p.header = http.Header{"Allow": said.header["Allow"]}
			p.write(w)
			return
		}
	}
	p := newProblem(codeNotFound)
	p.Detail = "There is no such route. /docs shows those there are."
	p.write(w)
}

// isClean reports whether a ServeMux would take the path as it is.
func isClean(p string) bool {
	clean := path.Clean(p)
	return p == clean || clean != "/" && p == clean+"/"
}

// refusal notes what a handler answers, and sends nothing.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) Write(p []byte) (int, error) { return len(p), nil }
func (r *refusal) WriteHeader(status int)      { r.status = status }

// observe gives each request its id, its headers and its line in the log, and
// makes a 500 of a panic.
func (s *server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("X-Request-Id")
		if !goodRequestID(id) {
			id = rand.Text()
		}
		ctx := context.WithValue(r.Context(), requestIDKey{}, id)
		var about exchange
		ctx, about.stats = postgres.WithStats(ctx)
		ctx, about.session = postgres.WithSession(ctx)
		r = r.WithContext(ctx)

		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		// A list may come in several lines, of which huma reads the first.
		for _, name := range []string{"If-Match", "If-None-Match"} {
			if lines := r.Header[name]; len(lines) > 1 {
				r.Header.Set(name, strings.Join(lines, ", "))
			}
		}

		rec := &recorder{ResponseWriter: w, head: about.head}
		defer func() {
			about.end(r, s.Logger)
			if s.Logger.Enabled(ctx, slog.LevelDebug) {
				statements, took := about.stats.Total()
				s.Logger.LogAttrs(ctx, slog.LevelDebug, "request",
					slog.String("request_id", id),
					slog.String("method", r.Method),
					slog.String("path", r.URL.Path),
					slog.Int("status", rec.status),
					slog.Int64("bytes", rec.bytes),
					slog.Duration("took", time.Since(start)),
					slog.Int("statements", statements),
					slog.Duration("database", took))
			}
		}()
		defer s.recover(rec, r)
		if p := about.begin(r); p != nil {
			p.write(rec)
			return
		}
		next.ServeHTTP(rec, r)
	})
}

// recover turns a panic into a 500, or into a broken connection when an answer
// has begun: a client must not take half of one for the whole.
func (s *server) recover(w *recorder, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	err, _ := cause.(error)
	var network *net.OpError
	switch {
	case errors.Is(err, http.ErrAbortHandler):
	case r.Context().Err() != nil, errors.As(err, &network):
		// huma panics when the client does not take its answer.
	default:
		s.Logger.LogAttrs(r.Context(), slog.LevelError, "panic",
			slog.String("request_id", requestID(r.Context())),
			slog.String("method", r.Method),
			slog.String("path", r.URL.Path),
			slog.Any("error", cause),
			slog.String("stack", string(debug.Stack())))
		if w.status == 0 {
			newProblem(codeInternal).write(w)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

type requestIDKey struct{}

// requestID returns the id of the request that the context belongs to.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// goodRequestID reports whether an id that a client chose may stand in the log.
func goodRequestID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:/+=@", r)
	})
}

// recorder notes what was answered, and adds to its head what is known only
// then.
type recorder struct {
	http.ResponseWriter
	head   func(http.Header)
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	// An informational status is not the answer yet.
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
		r.head(r.Header())
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
