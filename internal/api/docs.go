package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
)

// docsFiles is the page and Swagger UI, which docs/README.md describes. The large files are
// stored compressed and usually sent compressed.
//
//go:embed docs
var docsFiles embed.FS

// docsPolicy allows the page to load only files of this server. Swagger UI's style sheet
// has its pictures in data URLs.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// registerDocs serves the OpenAPI document and the page that shows it. It must be called
// after all operations are registered. Neither is an operation of the document.
func (s *server) registerDocs() {
	s.completeDocument()
	s.serve("/openapi.json", "application/openapi+json", s.document)
	s.serve("/openapi.yaml", "application/openapi+yaml", s.api.OpenAPI().YAML)
	s.registerRoot()
	s.serveFile("/docs", "text/html; charset=utf-8", "index.html")
	s.serveFile("/docs/init.js", "text/javascript; charset=utf-8", "init.js")
	s.serveFile("/docs/init.css", "text/css; charset=utf-8", "init.css")
	s.serveFile("/docs/root.css", "text/css; charset=utf-8", "root.css")
	s.serveFile("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", "swagger-ui-bundle.js.gz")
	s.serveFile("/docs/swagger-ui.css", "text/css; charset=utf-8", "swagger-ui.css.gz")
	s.serveFile("/docs/favicon.png", "image/png", "favicon-32x32.png")
}

func (s *server) document() ([]byte, error) { return json.Marshal(s.api.OpenAPI()) }

// Document returns the OpenAPI document of a version of the service, as /openapi.json has it.
func Document(version string) ([]byte, error) { return newServer(Config{Version: version}).document() }

func (s *server) serveFile(path, contentType, name string) {
	s.serve(path, contentType, func() ([]byte, error) { return docsFiles.ReadFile("docs/" + name) })
}

// serve serves constant content, plain or compressed, also without an API token.
func (s *server) serve(path, contentType string, content func() ([]byte, error)) {
	s.open[path] = true
	s.mux.HandleFunc("GET "+path, constant(contentType, content))
}

// constantForms are the forms in which constant content is sent.
type constantForms struct {
	tag           string
	plain, packed func() []byte
}

// constant returns a handler that responds with content, which may be compressed already.
// The content is made when it is first requested, because most processes never serve it and
// the garbage collector lets the heap grow to a multiple of what is kept. The tests request
// every page, so an error is a bug.
func constant(contentType string, content func() ([]byte, error)) http.HandlerFunc {
	forms := sync.OnceValue(func() constantForms {
		b, err := content()
		if err != nil {
			panic("api: make a " + contentType + ": " + err.Error())
		}
		sum := sha256.Sum256(b)
		f := constantForms{tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
		f.plain, f.packed = bothForms(contentType, b)
		return f
	})
	return func(w http.ResponseWriter, r *http.Request) {
		f, h := forms(), w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", docsPolicy)
		h.Set("Cache-Control", "no-cache")
		if f.packed != nil {
			h.Add("Vary", "Accept-Encoding")
		}
		compress := f.packed != nil && acceptsGzip(r.Header)
		current := f.tag
		if compress {
			current = gzipTag(f.tag)
		}
		h.Set("ETag", current)
		if header := r.Header.Get("If-None-Match"); header == "*" || strings.Contains(header, current) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if compress {
			h.Set("Content-Encoding", "gzip")
			_, _ = w.Write(f.packed()) // the client may have closed the connection
			return
		}
		_, _ = w.Write(f.plain())
	}
}

// bothForms returns content plain and compressed. Each form is created when it is first
// requested. Pictures and short content have no compressed form.
func bothForms(contentType string, content []byte) (plain, packed func() []byte) {
	as := func() []byte { return content }
	if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		return func() []byte { // rarely requested, so it is not kept
			r, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				panic(err)
			}
			plain, err := io.ReadAll(r)
			if err != nil {
				panic(err)
			}
			return plain
		}, as
	}
	if len(content) < compressFrom || strings.HasPrefix(contentType, "image/") {
		return as, nil
	}
	return as, sync.OnceValue(func() []byte {
		var b bytes.Buffer
		w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the error is only for invalid levels
		_, _ = w.Write(content)                               // writing to a Buffer cannot fail
		_ = w.Close()
		return b.Bytes()
	})
}
