package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"quern/internal/rowfile"
	"quern/internal/store"
	"quern/postgres"
)

// The media types of imports and exports, with the store's formats.
const (
	mediaCSV    = "text/csv"
	mediaNDJSON = "application/x-ndjson"
)

var formats = map[string]store.Format{mediaCSV: store.FormatCSV, mediaNDJSON: store.FormatNDJSON}

const (
	// streamTimeout is how long a stream may pause before its client counts as gone.
	streamTimeout = 30 * time.Second

	// shownRejects is how many rejected rows a response lists.
	shownRejects = 100
)

type importRequest struct {
	strict
	OnConflict string          `query:"on_conflict" enum:"error,skip,update" default:"error" doc:"What to do with a row whose username or post id exists already: reject it, skip it, or update the existing row."`
	AllOrNone  bool            `query:"strict" doc:"Store all rows, or none if one is rejected."`
	Delimiter  string          `query:"delimiter" default:"comma" doc:"Field separator of CSV: one character, or comma, semicolon, tab or pipe."`
	Ignore     bool            `query:"ignore_unknown" doc:"Ignore unknown columns and members instead of rejecting the body."`
	MaxRejects Optional[int64] `query:"max_rejects" minimum:"0" doc:"Stop after more rejected rows than this. The rows stored until then stay."`
	Key        string          `header:"Idempotency-Key" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"visible ASCII characters" doc:"Distinguishes this import from others with the same first row. To import the same rows again within a day, send another key. Each API token has its own keys."`
}

// Imported is the result of an import.
type Imported struct {
	Rows      int64 `json:"rows" example:"1000" doc:"Number of rows read: the sum of resumed, inserted, updated, unchanged, skipped and rejected. The last five count the rows of this request."`
	Inserted  int64 `json:"inserted" example:"998"`
	Updated   int64 `json:"updated" example:"0"`
	Unchanged int64 `json:"unchanged" example:"0" doc:"Rows that existed with the same values."`
	Skipped   int64 `json:"skipped" example:"0" doc:"Rows that existed and were skipped."`
	Rejected  int64 `json:"rejected" example:"2"`

	Resumed         int64      `json:"resumed" example:"0" doc:"Number of rows that an earlier request with the same beginning has processed. The other counts do not include them."`
	ResumedAt       *time.Time `json:"resumed_at,omitempty" doc:"When the last of them was processed."`
	ResumedRejected int64      `json:"resumed_rejected" example:"0" doc:"Number of resumed rows that were rejected."`
	Note            string     `json:"note,omitempty" doc:"Present if the request stored nothing because all rows had been imported before: how to import them again."`

	Rejects []Rejected `json:"rejects" doc:"The first 100 rejected rows, including resumed ones."`
}

// noteResumed is the note of a request that stored nothing.
const noteResumed = "Nothing was stored, because an earlier request has imported all rows. Send another Idempotency-Key to import them again."

// Rejected is a row that was not stored.
type Rejected struct {
	Line   int64  `json:"line" example:"12" doc:"The line where the row starts, from 1."`
	Field  string `json:"field" example:"age" doc:"The invalid column; empty if the whole row is invalid."`
	Reason string `json:"reason" example:"is not between 0 and 150"`
}

// Resolve rejects an invalid delimiter.
func (r *importRequest) Resolve(ctx huma.Context) []error {
	errs := r.strict.Resolve(ctx)
	if _, err := rowfile.ParseDelimiter(r.Delimiter); err != nil {
		errs = append(errs, &huma.ErrorDetail{Location: "query.delimiter", Message: "expected one character such as ;, or comma, semicolon, tab or pipe", Value: r.Delimiter})
	}
	return errs
}

type importAnswer struct {
	Body Imported
}

func (s *server) registerImports() {
	for _, what := range []struct {
		noun, columns string
		act           importAct
	}{
		{"users", "`username` and `email`, `age`, `tags`", (*store.Store).ImportUsers},
		{"posts", "`user_id` or `username`, `title` and `content`, `tags`", (*store.Store).ImportPosts},
	} {
		op := huma.Operation{
			OperationID: "import" + strings.ToUpper(what.noun[:1]) + what.noun[1:], Method: http.MethodPost,
			Path: "/v1/" + what.noun + "/import", Tags: []string{what.noun},
			Summary: "Import " + what.noun,
			Description: "The columns are " + what.columns + ", and for new rows `id`, `created_at`, `updated_at` and `version`. " +
				"CSV (RFC 4180) has their names in its first line, in any order and any case. An empty field is NULL, `\"\"` is an empty text, and tags are a JSON array. " +
				"NDJSON has one object per line. Either may be gzipped. Times are RFC 3339, or in PostgreSQL's own format.\n\n" +
				"The rows are stored while the body is read, so it may be of any size. Invalid rows are rejected, and the others are stored. " +
				"If all rows are rejected, the response is 422. A body with an unknown column is rejected, unless the name starts with an underscore or `ignore_unknown` is set. " +
				"An import is identified by its first row and its `Idempotency-Key`, for a day after it is complete, or for 30 days if it is interrupted. " +
				"If the same body is sent again, or the same with more rows at its end, it resumes after the last processed row. " +
				"If the first row is the same but other rows or options differ, it is rejected with 409 `import_began_alike` before anything is stored. " +
				"To import the whole body, send another `Idempotency-Key`.",
			RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
				mediaCSV:    {Schema: &huma.Schema{Type: huma.TypeString}},
				mediaNDJSON: {Schema: &huma.Schema{Type: huma.TypeString}},
			}},
			Middlewares: huma.Middlewares{unwrapped}, Metadata: streaming(),
		}
		op.Middlewares = append(op.Middlewares, s.audited("import", what.noun))
		codes := writes(codeBeganAlike, codeImportsBusy, codeNoSpool, codeInvalidBody, codeRequestTimeout, codeBodyTooLarge, codeUnsupportedMediaType, codeRejected)
		register(s, op, codes, func(ctx context.Context, in *importRequest) (*importAnswer, error) {
			return s.importRows(ctx, in, &op, what.act)
		})
		s.registerImportRejects(op, codes, what.act)
	}
}

type importAct func(*store.Store, context.Context, io.Reader, store.ImportOptions) (store.ImportResult, error)

// importRows imports the body of a request.
func (s *server) importRows(ctx context.Context, in *importRequest, op *huma.Operation, act importAct) (*importAnswer, error) {
	out := &importAnswer{Body: Imported{Rejects: []Rejected{}}}
	res, err := s.runImport(ctx, in, op, act, &out.Body.Rejects, nil)
	if err != nil {
		return nil, err
	}
	out.Body.Rows, out.Body.Inserted, out.Body.Updated = res.Rows, res.Inserted, res.Updated
	out.Body.Unchanged, out.Body.Skipped, out.Body.Rejected = res.Unchanged, res.Skipped, res.Rejected
	if res.Resumed > 0 {
		out.Body.Resumed, out.Body.ResumedAt, out.Body.ResumedRejected = res.Resumed, &res.ResumedAt, res.ResumedRejected
		if res.Resumed == res.Rows {
			out.Body.Note = noteResumed
		}
	}
	return out, nil
}

// runImport imports the body of a request. It appends the first rejected rows to first. If rejected
// is given, it receives all of them, and ErrRejected is returned as it is. Any other error that the
// client caused is a Problem.
func (s *server) runImport(ctx context.Context, in *importRequest, op *huma.Operation, act importAct, first *[]Rejected, rejected func(store.Reject) error) (store.ImportResult, error) {
	c := connOf(ctx)
	if c.r.ContentLength > s.MaxImportBytes {
		c.w.Header().Set("Connection", "close")
		return store.ImportResult{}, newProblem(codeBodyTooLarge)
	}
	media, ok := importMedia(op, c.r.Header)
	if !ok {
		return store.ImportResult{}, newProblem(codeUnsupportedMediaType)
	}
	body := newBodyReader(c, s.MaxImportBytes, s.StreamTimeout)
	defer body.close()
	// The statements of an import run once per chunk, which is not a query per row.
	ctx, _ = postgres.WithStats(ctx)
	moving, stop := newProgress(ctx, s.RequestTimeout)
	defer stop()
	ctx, body.moved = moving, func(last bool) {
		// A strict import stores rows only after it has read all of them. From then on,
		// stored rows are its progress.
		moving.moved(last && !in.AllOrNone)
	}
	delimiter, _ := rowfile.ParseDelimiter(in.Delimiter) // cannot fail, because Resolve has parsed it
	res, err := act(s.Store, ctx, body, store.ImportOptions{
		Format: formats[media], Delimiter: delimiter, IgnoreUnknown: in.Ignore, OnConflict: store.OnConflict(in.OnConflict), Strict: in.AllOrNone,
		MaxRejects: in.MaxRejects.ptr(), Key: tokenOf(ctx).Key(in.Key),
		Progress: func(store.ImportResult) { moving.moved(false) },
		Rejected: func(r store.Reject) error {
			if len(*first) < shownRejects {
				*first = append(*first, Rejected{r.Line, r.Field, r.Reason})
			}
			if rejected == nil {
				return nil
			}
			return rejected(r)
		},
	})
	if err != nil {
		// net/http cancels the request's context before a failed read returns, so err may
		// be of the context.
		body.close()
		if rejected != nil && errors.Is(err, store.ErrRejected) {
			return res, err
		}
		return res, importProblem(err, body.stalled, *first)
	}
	return res, nil
}

// importMedia returns the media type of a body if imports accept it.
func importMedia(op *huma.Operation, h http.Header) (media string, ok bool) {
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := params["charset"]
	ok = err == nil && op.RequestBody.Content[media] != nil && (charset == "" || strings.EqualFold(charset, "utf-8"))
	switch h.Get("Content-Encoding") {
	case "", "identity", "gzip":
		// Gzip is also detected by its first bytes.
		return media, ok
	}
	return media, false
}

// importProblem returns the problem if the client caused the end of the import, and err
// otherwise.
func importProblem(err error, stalled bool, rejects []Rejected) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, store.ErrRejected), errors.Is(err, store.ErrTooManyRejects):
		p := newProblem(codeRejected)
		p.Detail = sentence(err)
		for _, r := range rejects {
			location := fmt.Sprintf("body.line %d", r.Line)
			if r.Field != "" {
				location += "." + r.Field
			}
			p.Errors = append(p.Errors, FieldError{Location: location, Message: r.Reason})
		}
		return p
	case errors.Is(err, store.ErrBeganAlike):
		p := newProblem(codeBeganAlike)
		p.Detail = sentence(err) + " Nothing was stored. Send another Idempotency-Key to import the whole body."
		return p
	case errors.As(err, &tooLarge):
		return newProblem(codeBodyTooLarge)
	case errors.Is(err, store.ErrInputTooLarge):
		p := newProblem(codeBodyTooLarge)
		p.Detail = "The body is too large for a strict import. Send it without strict=true."
		return p
	case stalled:
		// err may be that of a statement that was cancelled with the request.
		return newProblem(codeRequestTimeout)
	case errors.Is(err, store.ErrArray):
		return newProblem(codeInvalid, FieldError{Location: "body", Message: err.Error()})
	case errors.Is(err, store.ErrInput):
		p := newProblem(codeInvalidBody)
		p.Detail = sentence(err) + columnHint(err)
		return p
	}
	return err
}

// columnHint returns the parameter that makes a body with other columns acceptable.
func columnHint(err error) string {
	switch wrong := (*store.ColumnError)(nil); {
	case !errors.As(err, &wrong):
	case wrong.Delimiter != 0:
		return " Send it with delimiter=" + url.QueryEscape(rowfile.DelimiterName(wrong.Delimiter)) + "."
	case wrong.Unknown:
		return " Rename it, or send it with ignore_unknown=true."
	}
	return ""
}

// sentence formats an error as the detail of a problem.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// conn holds a request and its ResponseWriter, for operations that stream.
type conn struct {
	r *http.Request
	w http.ResponseWriter
}

type connKey struct{}

// unwrapped passes an operation the request and the ResponseWriter that huma has wrapped.
func unwrapped(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	next(huma.WithValue(ctx, connKey{}, conn{r, w}))
}

// closeGrace is how long a running read may take to return after the end of the import. If
// it is interrupted, the rest of a chunked body cannot be read.
const closeGrace = 200 * time.Millisecond

func connOf(ctx context.Context) conn { return ctx.Value(connKey{}).(conn) }

// bodyReader reads a body of any length. Its timeout limits the wait for the next bytes,
// whereas that of http.Server limits the whole body. It may be closed while another
// goroutine reads.
type bodyReader struct {
	body    io.Reader
	on      *http.ResponseController
	timeout time.Duration
	moved   func(last bool) // called when bytes have arrived

	mu      sync.Mutex
	ended   bool // the body was read to its end
	closed  bool
	stalled bool // whether a read timed out; valid after close
}

func newBodyReader(c conn, limit int64, timeout time.Duration) *bodyReader {
	return &bodyReader{body: http.MaxBytesReader(c.w, c.r.Body, limit), on: http.NewResponseController(c.w), timeout: timeout, moved: func(bool) {}}
}

func (b *bodyReader) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	deadline := time.Now().Add(b.timeout)
	// An error means that the server does not support deadlines, so there is none to
	// extend.
	_ = b.on.SetReadDeadline(deadline)
	n, err := b.body.Read(p)
	b.ended = b.ended || err == io.EOF
	if n > 0 || b.ended {
		b.moved(b.ended)
	}
	// If the read ended before the deadline, close has ended it.
	b.stalled = b.stalled || errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(deadline)
	return n, err
}

// close ends a running Read, and extends the deadline for the response.
func (b *bodyReader) close() {
	if !b.mu.TryLock() {
		_ = b.on.SetReadDeadline(time.Now().Add(closeGrace))
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.closed = true
	if b.ended {
		// If the deadline passed later, net/http would report that the client left. After a
		// stall the deadline must stay, because net/http reads the rest of a body before it
		// sends the response.
		_ = b.on.SetReadDeadline(time.Time{})
	}
	_ = b.on.SetWriteDeadline(time.Now().Add(streamTimeout))
}
