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
)

// docsFiles is the page and Swagger UI, which docs/README.md tells of. The
// large files are stored compressed and mostly sent so.
//
//go:embed docs
var docsFiles embed.FS

// docsPolicy lets the page use what this server serves, and nothing else.
// Swagger UI's style sheet has its pictures in data URLs.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// registerDocs serves the OpenAPI document, which is complete by now, and the
// page that shows it. Neither is an operation of the document.
func (s *server) registerDocs() {
	s.completeDocument()
	spec, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		panic("api: the OpenAPI document: " + err.Error())
	}
	yaml, err := s.api.OpenAPI().YAML()
	if err != nil {
		panic("api: the OpenAPI document: " + err.Error())
	}
	s.serve("/openapi.json", "application/openapi+json", spec)
	s.serve("/openapi.yaml", "application/openapi+yaml", yaml)
	s.registerRoot()
	s.serveFile("/docs", "text/html; charset=utf-8", "index.html")
	s.serveFile("/docs/init.js", "text/javascript; charset=utf-8", "init.js")
	s.serveFile("/docs/init.css", "text/css; charset=utf-8", "init.css")
	s.serveFile("/docs/root.css", "text/css; charset=utf-8", "root.css")
	s.serveFile("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8", "swagger-ui-bundle.js.gz")
	s.serveFile("/docs/swagger-ui.css", "text/css; charset=utf-8", "swagger-ui.css.gz")
	s.serveFile("/docs/favicon.png", "image/png", "favicon-32x32.png")
}

func (s *server) serveFile(path, contentType, name string) {
	content, err := docsFiles.ReadFile("docs/" + name)
	if err != nil {
		panic("api: " + err.Error())
	}
	s.serve(path, contentType, content)
}

// serve serves content that stays the same as long as the process runs, plain
// or compressed.
func (s *server) serve(path, contentType string, content []byte) {
	s.mux.HandleFunc("GET "+path, constant(contentType, content))
}

// constant answers with content, which may be compressed.
func constant(contentType string, content []byte) http.HandlerFunc {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	compressed := bytes.HasPrefix(content, []byte{0x1f, 0x8b})
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", docsPolicy)
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		if compressed {
			h.Add("Vary", "Accept-Encoding")
		}
		if header := r.Header.Get("If-None-Match"); header == "*" || strings.Contains(header, tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if compressed && !acceptsGzip(r) {
			plain, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				panic(err)
			}
			// The client may leave.
			_, _ = io.Copy(w, plain)
			return
		}
		if compressed {
			h.Set("Content-Encoding", "gzip")
		}
		_, _ = w.Write(content)
	}
}

// acceptsGzip reports whether a client says it takes gzip. One that refuses it
// with q=0 is rare, and served all the same.
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" {
			return strings.TrimSpace(params) != "q=0"
		}
	}
	return false
}
