// Package api serves Quern over HTTP: JSON, RFC 9457 problems, and an OpenAPI 3.1 document
// that is generated from the code of the operations.
//
// An operation runs one generated query or one method of the store. It has its own request
// and response types, so that renaming a column never changes the wire format. The table in
// errors.go maps errors to problems.
//
//	user.go, post.go, stats.go, health.go   the operations, noun by noun
//	bulk.go, task.go                        more of them
//	noun.go                                 the operations that all nouns have
//	import.go, export.go, stream*.go        those that stream
//	idempotency.go                          what takes effect once
//	problem.go, errors.go                   what goes wrong, and how it is said
//	params.go, body.go, optional.go         how a request is read
//	answer.go, compress.go                  how an answer is written
//	page.go, cursor.go, etag.go             pages and lost races
//	middleware.go, session.go, log.go       what surrounds every request
//	guard.go, access.go, signin.go          which requests are let in
//	limit.go, refusal.go, audit.go          how many, why not, and who did what
//	openapi*.go, docs.go, root.go           what describes them
//
// A noun whose rows have a version consists of these parts:
//
//   - a type for the resource on the wire (User), and one for each body that a request
//     has (NewUser, UserPatch). A member that may be absent is an Optional, one that may
//     also be null a Nullable. Texts are held to have no NUL character.
//   - a noun value (users), which says how a row is read and what becomes of it;
//   - a register method, which [newServer] calls. It adds a tag to the document, and the
//     operations with createOne, getOne, patchOne, deleteOne and listAll. Each takes the
//     one statement that is the noun's own, and answers with ETag, 304, 412, Location,
//     cursors and Link as all nouns do. An operation that is more than a statement
//     is added with register, or with write if it changes the database;
//   - rows in the table in errors.go, if a constraint must have its own code. Without one,
//     the problem names the constraint.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quern/internal/db"
	"quern/internal/store"
)

// Config holds the settings of the API. Queries and Store must be set.
type Config struct {
	// Queries runs single statements.
	Queries *db.Queries

	// Store runs operations of several statements.
	Store *store.Store

	// Ready returns nil if requests can be served, or the reason why not. A NotReady is
	// shown to the client unchanged, any other error only by its kind. Defaults to always
	// ready.
	Ready func(context.Context) error

	// Metrics serves /metrics. Defaults to nil, which means that there is no such route.
	Metrics http.Handler

	// Logger receives failures, and each request at debug level. Defaults to
	// slog.Default().
	Logger *slog.Logger

	// RequestTimeout limits a request, from its head to the start of its response: reading
	// the body, the statements, the COMMITs and resolving their outcomes. The server's
	// write timeout must be longer. An import or export may take longer as long as rows
	// move. If they stop, it has this long. Defaults to 40s: the longest wait for a task,
	// and a statement of 10 s.
	RequestTimeout time.Duration

	// QueryBudget is how often one request may run the same statement. If a request runs it
	// more often, the log names the statement and the query to call instead. Defaults to 20.
	// Use math.MaxInt for no budget.
	QueryBudget int

	// FailOverBudget makes a request over QueryBudget fail with 500. It is for development
	// and tests. Defaults to false.
	FailOverBudget bool

	// MaxBodyBytes limits a request body that is held in memory. Defaults to 1 MiB.
	MaxBodyBytes int64

	// BodyMemory limits the memory that request bodies above 4 KiB use together, while they
	// are read and in use. If it is exceeded, requests wait for 5 s and are then rejected
	// with 503. Defaults to 128 MiB.
	BodyMemory int64

	// MaxImportBytes limits the body of an import, which is stored while it is read.
	// Defaults to 10 GiB.
	MaxImportBytes int64

	// StreamTimeout is how long the client of an import may send nothing, and how long the
	// client of an export may read nothing. The latter may take up to four times as long,
	// because the client's kernel may buffer data that the client has not read. Defaults to
	// 30s.
	StreamTimeout time.Duration

	// AllowedHosts are the hosts that are accepted in requests, on any port, besides the IP
	// address of the connection. Pages of these hosts may write if they are on the port
	// that is given with the host. Without one, they must be on the default port of http or
	// https. Defaults to every host.
	AllowedHosts []string

	// Tokens verifies API tokens. If it is set, every request needs one, except those for
	// the health checks, the documentation and signing in. Defaults to nil: no request
	// needs a token.
	Tokens *store.Tokens

	// TokenLimits limits the requests of each API token. Defaults to no limits.
	TokenLimits TokenLimits

	// CORSOrigins are the origins, such as https://app.example.com, whose pages may use the
	// API from a browser. * allows every origin, without cookies. Defaults to none.
	CORSOrigins []string

	// ExportTimeout limits an export, including the time its client takes to read it.
	// Defaults to store.DefaultExportTimeout.
	ExportTimeout time.Duration

	// Console serves the page at / to browsers, and everything below /console/. Defaults to
	// nil: / only has links.
	Console Console

	// RequestEnded is called when a request has ended, with its status and how long it took.
	// Defaults to nothing.
	RequestEnded func(status int, took time.Duration)

	// RequestRefused is called when a request has been refused, with the status and a reason of
	// Refusals. Defaults to nothing.
	RequestRefused func(status int, reason string)

	// Version is the version of the service in the OpenAPI document. Defaults
	// to "dev".
	Version string
}

// Console is the operator's page.
type Console interface {
	Page() http.Handler    // the page itself
	Handler() http.Handler // its files, and its data below /console/api/
}

// defaultMaxBody is the body limit of most operations.
const defaultMaxBody = 1 << 20

func (c Config) withDefaults() Config {
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 40 * time.Second
	}
	if c.QueryBudget == 0 {
		c.QueryBudget = queryBudget
	}
	if c.MaxBodyBytes == 0 {
		c.MaxBodyBytes = defaultMaxBody
	}
	if c.BodyMemory == 0 {
		c.BodyMemory = 128 << 20
	}
	if c.MaxImportBytes == 0 {
		c.MaxImportBytes = 10 << 30
	}
	if c.StreamTimeout == 0 {
		c.StreamTimeout = streamTimeout
	}
	if c.ExportTimeout == 0 {
		c.ExportTimeout = store.DefaultExportTimeout
	}
	if c.RequestEnded == nil {
		c.RequestEnded = func(int, time.Duration) {}
	}
	if c.RequestRefused == nil {
		c.RequestRefused = func(int, string) {}
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	return c
}

// Entrance is how requests to one address are let in.
type Entrance struct {
	AllowedHosts []string      // as in Config
	Tokens       *store.Tokens // as in Config
}

// New returns the handler of all routes: /v1, /openapi.json, /docs, /livez and /readyz, and
// those of operators, /metrics and the console.
func New(cfg Config) http.Handler {
	s := newServer(cfg)
	return s.handler(s.entrance(Entrance{s.AllowedHosts, s.Tokens}, true))
}

// NewApart is like New, but the first handler has no routes of operators. The second one, for
// another address, has all routes.
func NewApart(cfg Config, operators Entrance) (public, all http.Handler) {
	s := newServer(cfg)
	return s.handler(s.entrance(Entrance{s.AllowedHosts, s.Tokens}, false)), s.handler(s.entrance(operators, true))
}

// server is the state that the operations share.
type server struct {
	Config
	notReady atomic.Pointer[string] // why not, at the last check; empty if ready
	mux      *routes
	api      huma.API
	bodies   *bodyRooms
	open     map[string]bool // paths that need no API token
	limits   *limiter
	examples map[code]*huma.Example // of problems, in the OpenAPI document
}

func newServer(cfg Config) *server {
	s := &server{Config: cfg.withDefaults(), mux: &routes{ServeMux: http.NewServeMux()}, open: open(), examples: map[code]*huma.Example{}}
	s.bodies = newBodyRooms(s.BodyMemory)
	s.limits = newLimiter(s.TokenLimits)
	s.api = humago.New(s.mux, huma.Config{
		OpenAPI: document(s.Version),
		// The second name covers every media type that ends in +json.
		Formats:       map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{encode},
	})
	s.registerUsers()
	s.registerBulk()
	s.registerPosts()
	s.registerTasks()
	s.registerImports()
	s.registerExports()
	s.registerStats()
	s.registerSignIn()
	s.registerHealth()
	s.registerDocs()
	s.mux.Handle(fallback, http.HandlerFunc(s.unrouted))
	if s.Metrics != nil {
		s.mux.Handle("GET /metrics", s.operators(s.Metrics))
	}
	if s.Console != nil {
		s.mux.Handle(consoleFiles, apart(s.Console.Handler()))
		s.mux.Handle(consoleData, s.operators(s.Console.Handler()))
	}
	return s
}

// routes is a ServeMux that records the registered patterns.
type routes struct {
	*http.ServeMux
	patterns []string
}

// HandleFunc records the pattern. huma's adapter calls it for each operation.
func (r *routes) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	r.patterns = append(r.patterns, pattern)
	r.ServeMux.HandleFunc(pattern, handler)
}

// register adds an operation. Its document lists the problems of the given codes and those
// that any operation may return. Its errors are mapped by the table.
func register[I, O any](s *server, op huma.Operation, codes []code, handle func(context.Context, *I) (*O, error)) {
	codes = append(codes, codeInternal, codeMisdirected)
	if !s.open[op.Path] {
		codes = append(codes, codeUnauthorized, codeForbidden, codeRateLimited)
	}
	if isBulk(&op) {
		codes = append(codes, codeBulkLimited)
		op.Middlewares = append(huma.Middlewares{s.limitBulk}, op.Middlewares...)
	}
	if op.Method != http.MethodGet {
		codes = append(codes, codeCrossOrigin)
	}
	if reflect.TypeFor[I]().NumField() > 0 {
		codes = append(codes, codeInvalid)
	}
	if _, has := reflect.TypeFor[I]().FieldByName("Body"); has {
		codes = append(codes, codeInvalidBody, codeRequestTimeout, codeBodyTooLarge, codeUnsupportedMediaType, codeOverloaded)
		s.boundBody(&op)
	}
	if _, has := reflect.TypeFor[I]().FieldByName("IdempotencyKey"); has {
		op.Middlewares = append(op.Middlewares, fingerprint)
	}
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	s.documentProblems(op.Responses, codes)
	body := op.RequestBody
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := s.budget(ctx, &op)
		defer cancel()
		out, err := handle(ctx, in)
		if err != nil {
			return nil, refused(ctx, s.problemOf(ctx, op.OperationID, err))
		}
		return out, nil
	})
	if in, ok := any(new(I)).(interface{ names() reflect.Type }); ok {
		s.exampleOfID(op, in.names())
	}
	if body != nil && body.Content["application/json"] != nil {
		s.storableText(body)
	}
	// A merge patch changes one resource.
	if op.Method == http.MethodPatch && strings.HasSuffix(op.Path, "}") {
		body.Content[mergePatch] = body.Content["application/json"]
	}
}

// write adds an operation that changes the database and accepts an Idempotency-Key. Because
// of the constraints, an operation without the key in its request, or without the Replay in
// its response, does not compile. handle must use only the Queries that are passed to it,
// because they are those of a transaction if there is a key. It may be called more than
// once.
func write[I, O any, In interface {
	*I
	key() string
}, Out interface {
	*O
	replayed()
}](s *server, op huma.Operation, codes []code, handle func(context.Context, *db.Queries, *I) (*O, error)) {
	class, _ := op.Metadata[workClass].(string)
	register(s, op, append(codes, codeKeyReused, codeKeyInFlight), func(ctx context.Context, in *I) (*O, error) {
		return once[O, Out](ctx, s, In(in).key(), class, func(q *db.Queries) (*O, error) { return handle(ctx, q, in) })
	})
}

// workClass marks an operation, in its Metadata, with the class of its statements. If there
// is an Idempotency-Key, the transaction begins with a statement of the default class. A
// later statement of class bulk would be rejected instead of waiting, so the whole
// transaction must be of that class.
const workClass = "class"

func inBulk() map[string]any { return map[string]any{workClass: "bulk"} }

// reads returns the problems of an operation that reads the database. The given ones come
// first.
func reads(codes ...code) []code {
	return append(codes, codeInvalidToken, codeUnavailable, codeTimeout)
}

// writes returns the problems of an operation that changes the database. The given ones come
// first.
func writes(codes ...code) []code {
	return reads(append(codes, codeInvalidKey, codeConflict, codeReferenced, codeUnknownReference, codeCommitUnknown)...)
}
