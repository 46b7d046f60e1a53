package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
)

// web has the files of the page. uPlot is that of version 1.6.32 in the npm registry, with its
// licence.
//
//go:embed web
var web embed.FS

// policy lets the page load only files of this server. uPlot sets styles from its script,
// which a policy for style attributes does not concern.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Assets returns the paths of the files of the page, which contain no data.
func Assets() (paths []string) {
	names, err := fs.Glob(web, "web/*")
	if err != nil {
		panic(err) // the pattern is valid
	}
	for _, name := range names {
		if contentTypes[path.Ext(name)] != "" {
			paths = append(paths, "/console/"+path.Base(name))
		}
	}
	return paths
}

func (c *Console) registerAssets() {
	for _, p := range Assets() {
		c.mux.Handle("GET "+p, c.asset(path.Base(p)))
	}
	c.mux.Handle("GET /console/{$}", c.asset("index.html"))
}

// asset serves a file of the page. Browsers ask each time whether it has changed, so that a
// new version of the program is never shown by an old page.
func (c *Console) asset(name string) http.Handler {
	// The file is read again for each response, because a copy of all files would be kept otherwise.
	read := func() []byte {
		content, err := web.ReadFile("web/" + name)
		if err != nil {
			panic("console: " + err.Error()) // it is embedded
		}
		return content
	}
	sum := sha256.Sum256(read())
	tag := `W/"` + hex.EncodeToString(sum[:8]) + `"`
	packed := sync.OnceValue(func() []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(read()) // writing to a Buffer cannot fail
		_ = z.Close()
		return b.Bytes()
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentTypes[path.Ext(name)])
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		h.Add("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed()) // the client may have closed the connection
			return
		}
		_, _ = w.Write(read())
	})
}
