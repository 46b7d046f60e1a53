package api

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// compressFrom is the shortest response that is compressed. A shorter one fits into one
// packet anyway.
const compressFrom = 1 << 10

// varyEncoding is assigned directly, because http.Header.Set allocates a slice for each
// request.
var varyEncoding = []string{"Accept-Encoding"}

// acceptsGzip reports whether a client accepts gzip and does not prefer the plain form (RFC
// 9110, section 12.5.3). Without the header, it gets the plain form.
func acceptsGzip(h http.Header) bool {
	lines := h["Accept-Encoding"]
	if len(lines) == 0 {
		return false
	}
	if len(lines) == 1 && lines[0] == "gzip" {
		return true
	}
	header := strings.ReplaceAll(strings.ToLower(strings.Join(lines, ",")), "x-gzip", "gzip") // x-gzip is the old name of gzip
	return strings.TrimSpace(header) != "" && accepted(header, "gzip", "identity") == "gzip"
}

// gzipSuffix turns an entity tag into that of the compressed form, which is another
// representation and needs another strong tag (RFC 9110, section 8.8.3.3). If-Match and
// If-None-Match accept both.
const gzipSuffix = `-gzip"`

func gzipTag(tag string) string { return strings.TrimSuffix(tag, `"`) + gzipSuffix }

// plainTag returns the tag of the plain form.
func plainTag(tag string) string {
	if plain, ok := strings.CutSuffix(tag, gzipSuffix); ok {
		return plain + `"`
	}
	return tag
}

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the error is only for invalid levels
	return w
}}

// compress returns the text to send: the compressed form if the client accepts it and it is
// shorter, otherwise t.
func (t *text) compress(ctx huma.Context) *text {
	r, w := humago.Unwrap(ctx)
	h := w.Header()
	if _, has := h["Vary"]; has {
		h.Add("Vary", "Accept-Encoding")
	} else {
		h["Vary"] = varyEncoding
	}
	if len(t.b) < compressFrom || !acceptsGzip(r.Header) {
		return t
	}
	packed := newText(t.from)
	z := gzipWriters.Get().(*gzip.Writer)
	z.Reset(packed)
	_, _ = z.Write(t.b) // writing to a text cannot fail
	_ = z.Close()
	gzipWriters.Put(z)
	if len(packed.b) >= len(t.b) {
		packed.release()
		return t
	}
	t.release()
	h["Content-Encoding"] = []string{"gzip"}
	if tag := h.Get("ETag"); tag != "" {
		h.Set("ETag", gzipTag(tag))
	}
	return packed
}

// notModifiedTag returns the tag of the form that the client has, for a 304.
func notModifiedTag(ctx huma.Context) {
	r, w := humago.Unwrap(ctx)
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if tag := gzipTag(h.Get("ETag")); strings.Contains(r.Header.Get("If-None-Match"), tag) {
		h.Set("ETag", tag)
	}
}

// contentCoding returns the coding of a body, or "" if it has none. ok is false if the
// coding is not supported.
func contentCoding(h http.Header) (coding string, ok bool) {
	switch coding := strings.ToLower(strings.TrimSpace(strings.Join(h["Content-Encoding"], ","))); coding {
	case "", "identity":
		return "", true
	case "gzip", "x-gzip":
		return "gzip", true
	}
	return "", false
}

// errGzip: a body is not valid gzip, although its Content-Encoding says so.
var errGzip = errors.New("is not gzip, or is damaged")

// gunzipped is a body that is decompressed while it is read.
type gunzipped struct {
	packed io.ReadCloser
	z      *gzip.Reader
}

func (g *gunzipped) Read(p []byte) (n int, err error) {
	if g.z == nil {
		g.z, err = gzip.NewReader(g.packed)
	}
	if err == nil {
		n, err = g.z.Read(p)
	}
	switch {
	case err == nil, err == io.EOF:
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, new(flate.CorruptInputError)):
		err = errGzip
	}
	return n, err
}

func (g *gunzipped) Close() error { return g.packed.Close() }

// unpack decompresses the body of a request. The compressed and the plain form are both
// limited, so that a short body cannot become arbitrarily long. It returns the limit of the
// plain form, because the length at the end of a gzip comes from the client and cannot be
// trusted.
func unpack(w http.ResponseWriter, r *http.Request, limit int64) (length int64) {
	r.Body = http.MaxBytesReader(w, &gunzipped{packed: http.MaxBytesReader(w, r.Body, limit)}, limit)
	if r.ContentLength > smallBody {
		return limit
	}
	start := make([]byte, smallBody+1)
	n, err := io.ReadFull(r.Body, start)
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		r.Body = readBody{strings.NewReader(string(start[:n])), r.Body}
		return int64(n)
	case err != nil:
		r.Body = readBody{failingReader{err}, r.Body}
		return 0
	}
	r.Body = readBody{io.MultiReader(strings.NewReader(string(start)), r.Body), r.Body}
	return limit
}

// refuseCoding rejects a body with an unsupported coding, and names the supported one (RFC
// 9110, section 12.5.3).
func refuseCoding(r *http.Request) *Problem {
	p := newProblem(codeUnsupportedMediaType)
	p.Detail = "The Content-Encoding " + strconv.Quote(echo(strings.Join(r.Header["Content-Encoding"], ", ")).(string)) + " is not supported. Use gzip, or send the body uncompressed."
	p.header = http.Header{"Accept-Encoding": {"gzip"}}
	return p
}
