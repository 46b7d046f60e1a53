package api

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"

	"quern/internal/store"
	"quern/postgres"
)

// code identifies a problem for programs.
type code string

const (
	codeInvalid              code = "invalid"
	codeInvalidBody          code = "invalid_body"
	codeInvalidCursor        code = "invalid_cursor"
	codeInvalidETag          code = "invalid_etag"
	codeInvalidToken         code = "invalid_token"
	codeInvalidKey           code = "invalid_idempotency_key"
	codeUnauthorized         code = "unauthorized"
	codeForbidden            code = "forbidden"
	codeNotFound             code = "not_found"
	codeMethodNotAllowed     code = "method_not_allowed"
	codeCrossOrigin          code = "cross_origin"
	codeMisdirected          code = "misdirected_request"
	codeUsernameTaken        code = "username_taken"
	codeUnknownUser          code = "unknown_user"
	codeConflict             code = "conflict"
	codeUnknownReference     code = "unknown_reference"
	codeReferenced           code = "still_referenced"
	codeVersionMismatch      code = "version_mismatch"
	codeLeaseLost            code = "lease_lost"
	codeTaskStatus           code = "task_status"
	codeKeyReused            code = "idempotency_key_reused"
	codeKeyInFlight          code = "idempotency_key_in_flight"
	codeRejected             code = "rows_rejected"
	codeBeganAlike           code = "import_began_alike"
	codePageTooLarge         code = "page_too_large"
	codeNotAcceptable        code = "not_acceptable"
	codeRequestTimeout       code = "request_timeout"
	codeBodyTooLarge         code = "body_too_large"
	codeRateLimited          code = "rate_limited"
	codeBulkLimited          code = "too_many_bulk_requests"
	codeUnsupportedMediaType code = "unsupported_media_type"
	codeClientClosed         code = "client_closed_request"
	codeInternal             code = "internal"
	codeUnavailable          code = "unavailable"
	codeOverloaded           code = "overloaded"
	codeImportsBusy          code = "imports_busy"
	codeNoSpool              code = "insufficient_storage"
	codeTimeout              code = "timeout"
	codeCommitUnknown        code = "commit_unknown"
)

// statusClientClosed is nginx's status for a client that closed the connection before the
// response. It appears only in the access log.
const statusClientClosed = 499

// codes has every problem with its status and its default detail.
var codes = map[code]struct {
	status int
	detail string
}{
	codeInvalid:              {http.StatusUnprocessableEntity, "The request is invalid: see errors."},
	codeInvalidBody:          {http.StatusBadRequest, "The body must be one complete JSON text in UTF-8."},
	codeInvalidCursor:        {http.StatusBadRequest, "The cursor is damaged, or belongs to another list or other filters. Start again without a cursor."},
	codeInvalidETag:          {http.StatusBadRequest, "If-Match must be * or a list of entity tags such as \"3\"."},
	codeInvalidToken:         {http.StatusBadRequest, "The Consistency-Token is invalid. Send the one of the last response unchanged, or none."},
	codeInvalidKey:           {http.StatusBadRequest, "The Idempotency-Key is empty. Send a different key with each request, such as a UUID, or none."},
	codeUnauthorized:         {http.StatusUnauthorized, "The request needs a valid API token. Send it as Authorization: Bearer TOKEN. The operator creates one with `server token create`."},
	codeForbidden:            {http.StatusForbidden, "The scope of the API token does not include this request. Use a token with a greater scope."},
	codeNotFound:             {http.StatusNotFound, "Not found."},
	codeMethodNotAllowed:     {http.StatusMethodNotAllowed, "The route does not support this method: see the Allow header."},
	codeCrossOrigin:          {http.StatusForbidden, "A page of another site sent this request. Only pages of this server, and of the hosts in ALLOWED_HOSTS and the origins in CORS_ORIGINS, may write."},
	codeMisdirected:          {http.StatusMisdirectedRequest, "The server does not accept this Host. Use localhost, or add the host to its setting ALLOWED_HOSTS."},
	codeUsernameTaken:        {http.StatusConflict, "Another user has this username."},
	codeUnknownUser:          {http.StatusUnprocessableEntity, "No user has this id."},
	codeConflict:             {http.StatusConflict, "The request conflicts with a stored row."},
	codeUnknownReference:     {http.StatusUnprocessableEntity, "The request refers to a row that does not exist."},
	codeReferenced:           {http.StatusConflict, "Another row still refers to this one. Delete that row first."},
	codeVersionMismatch:      {http.StatusPreconditionFailed, "The resource has changed. Read it again, and repeat the request with its new ETag."},
	codeLeaseLost:            {http.StatusConflict, "The worker no longer holds this lease, because another worker has claimed the task, or the task has ended."},
	codeTaskStatus:           {http.StatusConflict, "The status of the task does not allow this. Only a pending or running task can be cancelled, only a failed, cancelled or pending one retried, and a running one cannot be deleted."},
	codeKeyReused:            {http.StatusUnprocessableEntity, "Another request was sent with this Idempotency-Key. Send a different key with each request, and the same key only with a repetition of it."},
	codeKeyInFlight:          {http.StatusConflict, "The first request with this Idempotency-Key is still running. Try again shortly."},
	codeRejected:             {http.StatusUnprocessableEntity, "Rows were rejected: see errors for the first of them."},
	codeBeganAlike:           {http.StatusConflict, "Rows of another import with the same beginning are stored. Send another Idempotency-Key to import the whole body."},
	codePageTooLarge:         {http.StatusUnprocessableEntity, "The posts of these users have more than 32 MiB of text. Request fewer users with limit, or the posts of one user."},
	codeNotAcceptable:        {http.StatusNotAcceptable, "The operation responds with text/csv or application/x-ndjson: accept one of them."},
	codeRequestTimeout:       {http.StatusRequestTimeout, "The body arrived too slowly."},
	codeBodyTooLarge:         {http.StatusRequestEntityTooLarge, "The body is too large for this operation."},
	codeRateLimited:          {http.StatusTooManyRequests, "The API token has sent too many requests. Try again after the seconds in Retry-After."},
	codeBulkLimited:          {http.StatusTooManyRequests, "The API token has too many imports, exports, statistics or requests for many rows running. Try again when one has ended."},
	codeUnsupportedMediaType: {http.StatusUnsupportedMediaType, "The operation does not accept a body with this Content-Type or Content-Encoding."},
	codeClientClosed:         {statusClientClosed, "The client closed the connection."},
	codeInternal:             {http.StatusInternalServerError, "Internal error. The log of the server has the cause, with the X-Request-Id of this response."},
	codeUnavailable:          {http.StatusServiceUnavailable, "The database is temporarily unavailable. Try again shortly."},
	codeOverloaded:           {http.StatusServiceUnavailable, "Other requests use all the memory for large bodies and responses. Try again shortly."},
	codeImportsBusy:          {http.StatusServiceUnavailable, "Other imports use all the memory for imports. Send the same request again later: rows that are stored are not stored again."},
	codeNoSpool:              {http.StatusInsufficientStorage, "There is no disk space for the temporary file of a strict import. Send the request again later, or without strict=true."},
	codeTimeout:              {http.StatusGatewayTimeout, "The database did not answer in time."},
	codeCommitUnknown:        {http.StatusInternalServerError, "It is unknown whether the change was stored, because the answer of the database was lost. If the request had an Idempotency-Key, repeat it with the same key. Otherwise check first."},
}

// ofStatus returns the code for a status that huma chose.
func ofStatus(status int) code {
	switch status {
	case http.StatusBadRequest:
		return codeInvalidBody
	case http.StatusRequestTimeout:
		return codeRequestTimeout
	case http.StatusRequestEntityTooLarge:
		return codeBodyTooLarge
	case http.StatusUnsupportedMediaType:
		return codeUnsupportedMediaType
	}
	return codeInvalid
}

// table maps errors to problems. The first matching row applies. An error without a
// matching row becomes a plain 500.
var table = []struct {
	err        error
	constraint string // the violated constraint, if the row is for one
	referenced bool   // with ErrForeignKey: another row refers to the deleted one
	code       code
	location   string // the location of the invalid value, if known
}{
	// These come first, because any of the others can be their cause.
	{err: postgres.ErrCommitUnknown, code: codeCommitUnknown},
	{err: postgres.ErrCommitted, code: codeCommitUnknown},
	{err: store.ErrVersionMismatch, code: codeVersionMismatch},
	{err: store.ErrLeaseLost, code: codeLeaseLost},
	{err: store.ErrTaskStatus, code: codeTaskStatus},
	{err: store.ErrImportsBusy, code: codeImportsBusy},
	{err: store.ErrPageTooLarge, code: codePageTooLarge},
	{err: store.ErrNoSpool, code: codeNoSpool},
	{err: store.ErrKeyReused, code: codeKeyReused, location: "header." + idempotencyKey},
	{err: store.ErrKeyInFlight, code: codeKeyInFlight},
	{err: postgres.ErrNotFound, code: codeNotFound},
	{err: postgres.ErrForeignKey, referenced: true, code: codeReferenced},
	{err: postgres.ErrUnique, constraint: "users_username_key", code: codeUsernameTaken, location: "body.username"},
	{err: postgres.ErrForeignKey, constraint: "posts_user_id_fkey", code: codeUnknownUser, location: "path.id"},
	// A constraint without its own row, such as that of a new migration. The problem names
	// the constraint.
	{err: postgres.ErrUnique, code: codeConflict},
	{err: postgres.ErrExclusion, code: codeConflict},
	{err: postgres.ErrForeignKey, code: codeUnknownReference},
	// The validator checks the rules of the tables, so these two are for rules that it does
	// not have.
	{err: postgres.ErrCheck, code: codeInvalid},
	{err: postgres.ErrInvalidValue, code: codeInvalid},
	{err: postgres.ErrUnavailable, code: codeUnavailable}, // includes ErrPoolExhausted
	{err: postgres.ErrSerialization, code: codeUnavailable},
	{err: postgres.ErrTimeout, code: codeTimeout},
	{err: context.DeadlineExceeded, code: codeTimeout},
}

// lookup returns the problem of an error according to the table, or nil.
func lookup(err error) *Problem {
	e := (*postgres.Error)(nil)
	constraint := ""
	if errors.As(err, &e) {
		constraint = e.Constraint
	}
	for _, row := range table {
		if !errors.Is(err, row.err) || row.constraint != "" && row.constraint != constraint || row.referenced && !referenced(err) {
			continue
		}
		p := newProblem(row.code)
		if row.constraint == "" {
			p.Detail = cmp.Or(detailOf(row.code, e), p.Detail)
		}
		if row.location != "" {
			p.Errors = []FieldError{{Location: row.location, Message: p.Detail}}
		}
		if e != nil && e.Kind == postgres.ErrPoolExhausted && e.Class != "" && e.Class != postgres.DefaultClass {
			p.Detail = "Other requests use all database connections of class " + e.Class + ". Try again shortly."
		}
		p.header = retryAfter(row.code)
		return p
	}
	return nil
}

// problemOf returns the problem of an operation's error. If the operator must know of the
// error, it is logged with its cause, which the client does not see.
func (s *server) problemOf(ctx context.Context, operation string, err error) *Problem {
	if p := (*Problem)(nil); errors.As(err, &p) {
		return p
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		if context.Cause(ctx) != context.Canceled {
			// The server ended the request because it shuts down.
			p := newProblem(codeUnavailable)
			p.Detail = "The server is shutting down. Try again shortly."
			p.header = retryAfter(codeUnavailable)
			return p
		}
		return newProblem(codeClientClosed)
	}
	p := lookupItems(err)
	level := slog.LevelWarn
	switch {
	case p == nil:
		p = newProblem(codeInternal)
		level = slog.LevelError
	case p.Status < http.StatusInternalServerError:
		return p
	}
	s.Logger.LogAttrs(ctx, level, "request failed",
		slog.String("operation", operation),
		slog.String("request_id", requestID(ctx)),
		slog.Int("status", p.Status),
		slog.Any("error", err))
	return p
}
