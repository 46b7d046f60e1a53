package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// mergePatch is the media type of RFC 7396. A PATCH also accepts application/json.
const mergePatch = "application/merge-patch+json"

// bodyReadTimeout limits how long a body may take to arrive: 1 MiB over a slow mobile
// connection.
const bodyReadTimeout = 30 * time.Second

// unmarshal reads exactly one JSON text. It rejects text that encoding/json would silently
// replace by U+FFFD, duplicate members, and numbers that jsonb cannot store, because the
// stored data would differ from the sent data. huma calls it with *any first, to validate.
// An error of that call has status 400 unless it has a location. An error of a later call
// has status 422.
func unmarshal(data []byte, v any) error {
	if !utf8.Valid(data) {
		return errors.New("is not UTF-8")
	}
	err := json.Unmarshal(data, v)
	if err == nil && loneSurrogate(data) {
		return errors.New(`a \u escape is one half of a surrogate pair`)
	}
	_, first := v.(*any)
	wrong := (*json.UnmarshalTypeError)(nil)
	switch number := errors.As(err, &wrong) && strings.HasPrefix(wrong.Value, "number"); {
	case number && first:
		return cmp.Or(refuseLost(data), err)
	case number:
		data, err := integers(data, reflect.TypeOf(v))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, v); err != nil {
			return err
		}
		return refuseLost(data)
	case err == nil && !first:
		return refuseLost(data)
	}
	return err
}

// loneSurrogate reports whether a valid JSON text has an escaped surrogate
// without its other half (RFC 8259, section 8.2).
func loneSurrogate(data []byte) bool {
	high := false
	for i := 0; i < len(data); i++ {
		unit := rune(0)
		if data[i] == '\\' {
			i++
			if data[i] == 'u' {
				n, _ := strconv.ParseUint(string(data[i+1:i+5]), 16, 16)
				unit = rune(n)
				i += 4
			}
		}
		low := utf16.IsSurrogate(unit) && unit >= 0xdc00
		if low != high {
			return true
		}
		high = utf16.IsSurrogate(unit) && !low
	}
	return false
}

// boundBody makes an operation reject a body that is too large or whose type it does not
// document, before it is read. It makes a large body wait for memory. An operation may
// allow larger bodies than the setting.
func (s *server) boundBody(op *huma.Operation) {
	op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{}}
	op.BodyReadTimeout = bodyReadTimeout
	limit := max(s.MaxBodyBytes, op.MaxBodyBytes)
	// http.MaxBytesReader below checks the limit. It allows exactly limit bytes.
	op.MaxBodyBytes = -1
	op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		coding, known := contentCoding(r.Header)
		switch {
		case r.ContentLength > limit:
			// The body is not read, so the connection cannot be reused.
			ctx.SetHeader("Connection", "close")
			newProblem(codeBodyTooLarge).write(w)
		case r.ContentLength != 0 && !takes(ctx.Operation(), r.Header):
			newProblem(codeUnsupportedMediaType).write(w)
		case !known:
			refuseCoding(r).write(w)
		default:
			// huma finds formats by their exact name, and a merge patch is JSON too.
			r.Header.Set("Content-Type", "application/json")
			length := r.ContentLength
			if coding == "gzip" {
				_ = ctx.SetReadDeadline(time.Now().Add(bodyReadTimeout)) // as huma does before it reads the body
				length = unpack(w, r, limit)
			} else {
				r.Body = http.MaxBytesReader(w, r.Body, limit)
			}
			if length < 0 {
				length = limit // the length is unknown until the end
			}
			if length <= smallBody {
				next(ctx)
			} else if p := s.largeBody(ctx, r, length, func() { next(ctx) }); p != nil {
				p.write(w)
			}
		}
	})
}

// takes reports whether an operation accepts a body with these headers. It does not accept
// one without a Content-Type, because a form on another site's page can send that.
func takes(op *huma.Operation, h http.Header) bool {
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return false
	}
	charset := params["charset"]
	return op.RequestBody.Content[media] != nil && (charset == "" || strings.EqualFold(charset, "utf-8"))
}
