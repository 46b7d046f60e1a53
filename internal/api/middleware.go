package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"quern/internal/store"
	"quern/postgres"
)

// handler wraps the routes with the middleware of all requests of an entrance.
func (s *server) handler(e *entrance) http.Handler {
	return s.observe(e, s.guard(e, s.authorize(e, http.HandlerFunc(s.route))))
}

// route calls the ServeMux, but not its redirects, because they would turn a POST into a
// GET.
func (s *server) route(w http.ResponseWriter, r *http.Request) {
	if isClean(r.URL.EscapedPath()) {
		s.mux.ServeHTTP(w, r)
		return
	}
	noRoute().write(w)
}

// isClean reports whether a ServeMux would accept the path without a redirect.
func isClean(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || p == clean+"/")
}

// fallback matches every request without a route. Without it, a ServeMux would respond in
// plain text.
const fallback = "/"

// methods are the methods of all routes, and HEAD, in order.
var methods = []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost}

// unrouted responds to a request without a route: 405 if another method has the path,
// otherwise 404.
func (s *server) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range methods {
		_, pattern := s.mux.Handler(&http.Request{Method: method, URL: r.URL, Host: r.Host})
		if pattern != fallback {
			allowed = append(allowed, method)
		}
	}
	if allowed != nil {
		p := newProblem(codeMethodNotAllowed)
		p.header = http.Header{"Allow": {strings.Join(allowed, ", ")}}
		p.write(w)
		return
	}
	noRoute().write(w)
}

func noRoute() *Problem {
	p := newProblem(codeNotFound)
	p.Detail = "There is no such route. /docs lists all routes."
	return p
}

// Headers of every response. They are assigned to the map directly, because http.Header.Set
// would allocate a slice for each request.
var (
	nosniff = []string{"nosniff"}
	noStore = []string{"no-store"}
	nothing = []string{"default-src 'none'; frame-ancestors 'none'"}
)

// observe adds the id, the headers and the log line of each request, and turns a panic into
// a 500.
func (s *server) observe(e *entrance, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		rec.id[0] = r.Header.Get("X-Request-Id")
		if !goodRequestID(rec.id[0]) {
			rec.id[0] = newRequestID()
		}
		ctx, stats := postgres.WithStats(r.Context())
		ctx, session := postgres.WithSession(ctx)
		rec.info.stats, rec.info.session, rec.info.budget = stats, session, s.QueryBudget
		if s.FailOverBudget {
			stats.Refuse(s.QueryBudget)
		}
		rec.ctx = requestContext{Context: ctx, id: rec.id[0], start: start, method: r.Method, path: r.URL.Path, entrance: e}
		r = r.WithContext(&rec.ctx)

		h := w.Header()
		h["X-Request-Id"] = rec.id[:]
		h["X-Content-Type-Options"] = nosniff
		h["Cache-Control"] = noStore
		h["Content-Security-Policy"] = nothing
		// A list may be split over several header lines, of which huma reads only the
		// first.
		for _, name := range [...]string{"If-Match", "If-None-Match"} {
			if lines := r.Header[name]; len(lines) > 1 {
				r.Header.Set(name, strings.Join(lines, ", "))
			}
		}

		defer s.end(rec, r, start)
		defer s.recover(rec, r)
		if p := rec.info.begin(r); p != nil {
			p.write(rec)
			return
		}
		if p := emptyHeader(r); p != nil {
			p.write(rec)
			return
		}
		next.ServeHTTP(rec, r)
		rec.linger(r)
	})
}

// emptyHeader rejects a write with an empty If-Match or Idempotency-Key. huma treats an
// empty header as absent, so the change would be made without its condition, or twice.
func emptyHeader(r *http.Request) *Problem {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if lines := r.Header["If-Match"]; len(lines) == 1 && lines[0] == "" {
		return newProblem(codeInvalidETag)
	}
	if lines := r.Header[idempotencyKey]; len(lines) == 1 && lines[0] == "" {
		return newProblem(codeInvalidKey, FieldError{Location: "header." + idempotencyKey, Message: "is empty"})
	}
	return nil
}

// end logs the request.
func (s *server) end(rec *recorder, r *http.Request, start time.Time) {
	rec.info.end(r, s.Logger)
	s.RequestEnded(rec.status, time.Since(start))
	if rec.ctx.refused != "" {
		s.RequestRefused(rec.status, rec.ctx.refused)
	}
	if !s.Logger.Enabled(r.Context(), slog.LevelDebug) {
		return
	}
	statements, took := rec.info.stats.Total()
	s.Logger.LogAttrs(r.Context(), slog.LevelDebug, "request",
		slog.String("request_id", rec.ctx.id),
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.String("who", whoIs(rec.ctx.token)),
		slog.Int("status", rec.status),
		slog.Int64("bytes", rec.bytes),
		slog.Duration("took", time.Since(start)),
		slog.Int("statements", statements),
		slog.Duration("database", took))
}

// recover turns a panic into a 500. If the response has begun, it breaks the connection,
// because the client must not mistake a part of it for the whole.
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
		// huma panics if the client does not read the response.
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

type requestKey struct{}

// requestContext is the context of a request. It has the id and the start time of the
// request, what it asks for, and its API token.
type requestContext struct {
	context.Context
	id    string
	start time.Time

	method, path string

	entrance *entrance
	token    *store.Token // nil if it has none
	refused  string       // one of Refusals, or empty
}

func (c *requestContext) Value(key any) any {
	if key == (requestKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// requestID returns the id of the request of the context.
func requestID(ctx context.Context) string {
	if c, ok := ctx.Value(requestKey{}).(*requestContext); ok {
		return c.id
	}
	return ""
}

// RequestOf returns the id of the request of a context, and its method and path.
func RequestOf(ctx context.Context) (id, route string) {
	c, ok := ctx.Value(requestKey{}).(*requestContext)
	if !ok {
		return "", ""
	}
	return c.id, c.method + " " + c.path
}

// entranceOf returns the entrance of the request of the context. A handler that a test calls
// by itself has one that lets everything in.
func entranceOf(ctx context.Context) *entrance {
	if c, ok := ctx.Value(requestKey{}).(*requestContext); ok && c.entrance != nil {
		return c.entrance
	}
	return &entrance{operators: true}
}

// tokenOf returns the API token of the request of the context, or nil.
func tokenOf(ctx context.Context) *store.Token {
	if c, ok := ctx.Value(requestKey{}).(*requestContext); ok {
		return c.token
	}
	return nil
}

// newRequestID returns 128 random bits. They only distinguish requests, so a fast generator
// that is not cryptographic is enough.
func newRequestID() string {
	const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var text [26]byte
	for half := range 2 {
		bits := rand.Uint64()
		for i := range 13 {
			text[13*half+i] = base32[bits&31]
			bits >>= 5
		}
	}
	return string(text[:])
}

// goodRequestID reports whether an id from the client may be logged.
func goodRequestID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:/+=@", r)
	})
}

// recorder records the status and length of the response, and adds the headers that are
// only known when it begins. It holds all state of a request, in one allocation.
type recorder struct {
	http.ResponseWriter
	info   requestInfo
	ctx    requestContext
	id     [1]string // the header X-Request-Id
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	// An informational status is not the final one.
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
		r.info.head(r.Header())
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

const (
	// lingerFrom is the length of a body that net/http discards by itself.
	lingerFrom = 256 << 10

	// lingerTime and lingerBytes limit how much of a rejected body is read and discarded
	// after the response.
	lingerTime  = 5 * time.Second
	lingerBytes = 256 << 20
)

// linger sends the response to a rejected request, and then reads and discards the rest of
// the body for a limited time. If the connection were closed at once, the kernel would send
// a reset, and the client would see a broken connection instead of the response. A client
// that stalled sends nothing, so there is nothing to read.
func (r *recorder) linger(request *http.Request) {
	if r.status < http.StatusBadRequest || r.status == http.StatusRequestTimeout ||
		request.ContentLength >= 0 && request.ContentLength <= lingerFrom {
		return
	}
	on := http.NewResponseController(r.ResponseWriter)
	if on.Flush() != nil {
		return
	}
	_ = on.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, io.LimitReader(request.Body, lingerBytes)) // the client may have closed the connection
}

// Unwrap allows http.ResponseController to reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
