package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
)

// Problem is the body of every error response (RFC 9457). Its type is always about:blank,
// so that member is omitted, and the title is the name of the status. The code identifies
// the problem.
type Problem struct {
	Title  string       `json:"title" example:"Unprocessable Entity" doc:"The name of the status."`
	Status int          `json:"status" example:"422" doc:"The HTTP status."`
	Code   code         `json:"code" doc:"Identifies the problem. The code stays the same if the texts change."`
	Detail string       `json:"detail" example:"The request is invalid: see errors." doc:"Explains the problem."`
	Errors []FieldError `json:"errors,omitempty" nullable:"false" doc:"The invalid values, if known."`

	header http.Header
	reason string // of a 401 or 403: one of Refusals
}

// FieldError describes an error in one value of a request.
type FieldError struct {
	Location string `json:"location" example:"body.username" doc:"Place of the value: path, query, header or body, then its name."`
	Message  string `json:"message" example:"expected length <= 50" doc:"Why the value is invalid."`
	Value    any    `json:"value,omitempty" doc:"The value, if it is a short scalar."`
}

const (
	// maxFieldErrors limits a response, because a body of 1 MiB can have a hundred thousand
	// errors.
	maxFieldErrors = 100
	// maxEcho is how many characters of an invalid value are returned.
	maxEcho = 200
)

// titleOf returns the name of a status.
func titleOf(status int) string {
	if status == statusClientClosed { // HTTP does not define it
		return "Client Closed Request"
	}
	return http.StatusText(status)
}

// newProblem returns the problem of a code with the code's default detail.
func newProblem(c code, errs ...FieldError) *Problem {
	return &Problem{
		Title:  titleOf(codes[c].status),
		Status: codes[c].status,
		Code:   c,
		Detail: codes[c].detail,
		Errors: errs,
	}
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus is called by huma, like GetHeaders.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers of the problem.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType returns the media type of problems, for huma.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// write sends the problem if huma does not.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	// If this fails, the client has closed the connection.
	_ = jsonFormat.Marshal(w, p)
}

// These are global variables of huma. Nothing else in this process uses huma.
func init() {
	huma.NewError = fromHuma
	// Lists are never null.
	huma.DefaultArrayNullable = false
	// Otherwise, of {"age":5,"AGE":999}, 5 would be validated and 999 stored.
	huma.ValidateStrictCasing = true
}

// fromHuma returns the Problem of a request that huma rejects before the operation runs.
func fromHuma(status int, detail string, errs ...error) huma.StatusError {
	c := ofStatus(status)
	if status == http.StatusInternalServerError {
		// The body could not be read, and huma does not check why.
		c = codeInvalidBody
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(errors.Join(errs...), &tooLarge) {
			c = codeBodyTooLarge
		}
		p := newProblem(c)
		if errors.Is(errors.Join(errs...), errGzip) {
			p.Detail = "The body is damaged or not gzip, although its Content-Encoding says so."
		}
		return p
	}
	if slices.ContainsFunc(errs, isLocated) {
		c = codeInvalid // the body is JSON, and the invalid value is known
	}
	p := newProblem(c, fieldErrors(errs[:min(len(errs), maxFieldErrors)])...)
	if len(errs) > maxFieldErrors {
		p.Detail += " There are more errors than listed."
	}
	return p
}

// fieldErrors returns the errors of the validator in the order of their locations.
func fieldErrors(errs []error) []FieldError {
	fields := make([]FieldError, 0, len(errs))
	for _, err := range errs {
		f := FieldError{Message: err.Error()}
		if detail := (*huma.ErrorDetail)(nil); errors.As(err, &detail) {
			f = FieldError{Location: detail.Location, Message: detail.Message, Value: echo(detail.Value)}
		}
		// huma locates a missing member at the object that lacks it.
		var missing string
		if n, _ := fmt.Sscanf(f.Message, validation.MsgExpectedRequiredProperty, &missing); n == 1 {
			f.Location += "." + missing
			f.Message = "is required"
		}
		if message, path, has := strings.Cut(f.Message, locationMark); has {
			f.Location, f.Message, f.Value = echo(f.Location+path).(string), message, nil
		}
		if f.Location == "body" {
			f.Value = nil
		}
		fields = append(fields, f)
	}
	slices.SortStableFunc(fields, func(a, b FieldError) int { return strings.Compare(a.Location, b.Location) })
	// For a wrong type, the validator's message is more specific.
	return slices.CompactFunc(fields, func(a, b FieldError) bool {
		return a.Location == b.Location && (a.Message == msgWrongType || b.Message == msgWrongType)
	})
}

// echo returns the part of an invalid value that is sent back.
func echo(v any) any {
	switch v := v.(type) {
	case string:
		if utf8.RuneCountInString(v) > maxEcho {
			return string([]rune(v)[:maxEcho]) + "…"
		}
		return v
	case bool, float64, int, int32, int64:
		return v
	}
	return nil
}
