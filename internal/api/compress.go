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

// compressFrom is the length from which an answer is compressed. A shorter one fits
// into a packet as it is.
const compressFrom = 1 << 10

// varyEncoding is set as it is, because http.Header.Set makes a slice for each request.
var varyEncoding = []string{"Accept-Encoding"}

// acceptsGzip reports whether a client takes gzip and does not like the plain form
// better (RFC 9110, section 12.5.3). Without the header it gets the plain form.
func acceptsGzip(h http.Header) bool {
	lines := h["Accept-Encoding"]
	if len(lines) == 0 {
		return false
	}
	if len(lines) == 1 && lines[0] == "gzip" {
		return true
	}
	header := strings.ReplaceAll(strings.ToLower(strings.Join(lines, ",")), "x-gzip", "gzip") // they are the same
	return strings.TrimSpace(header) != "" && accepted(header, "gzip", "identity") == "gzip"
}

// gzipSuffix makes the entity tag of the compressed form, which is another
// representation and needs another strong tag (RFC 9110, section 8.8.3.3). If-Match
// and If-None-Match take both.
const gzipSuffix = `-gzip"`

func gzipTag(tag string) string { return strings.TrimSuffix(tag, `"`) + gzipSuffix }

// plainTag is the tag of the plain form.
func plainTag(tag string) string {
	if plain, ok := strings.CutSuffix(tag, gzipSuffix); ok {
		return plain + `"`
	}
	return tag
}

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that exists
	return w
}}

// compress returns the text that is sent: t, or its compressed form if the client
// takes that and it is shorter.
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
	_, _ = z.Write(t.b) // a text takes everything
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

// notModifiedTag gives a 304 the tag of the form that the client has.
func notModifiedTag(ctx huma.Context) {
	r, w := humago.Unwrap(ctx)
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if tag := gzipTag(h.Get("ETag")); strings.Contains(r.Header.Get("If-None-Match"), tag) {
		h.Set("ETag", tag)
	}
}

// contentCoding is the coding of a body: "" if it is sent as it is. ok is false if it
// is one that is not read.
func contentCoding(h http.Header) (coding string, ok bool) {
	switch coding := strings.ToLower(strings.TrimSpace(strings.Join(h["Content-Encoding"], ","))); coding {
	case "", "identity":
		return "", true
	case "gzip", "x-gzip":
		return "gzip", true
	}
	return "", false
}

// errGzip says that a body is not what its Content-Encoding says.
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

// unpack makes the body of a request plain. Both forms are bounded, so that a short
// body cannot become a long one. It returns how long the plain form may be: the length
// that a gzip ends with is the client's word.
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

// refuseCoding answers a body of a coding that is not read, and says which one is
// (RFC 9110, section 12.5.3).
func refuseCoding(r *http.Request) *Problem {
	p := newProblem(codeUnsupportedMediaType)
	p.Detail = "The Content-Encoding " + strconv.Quote(echo(strings.Join(r.Header["Content-Encoding"], ", ")).(string)) + " is not supported. Use gzip, or send the body uncompressed."
	p.header = http.Header{"Accept-Encoding": {"gzip"}}
	return p
}
