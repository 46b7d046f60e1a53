package api

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"quern/internal/db"
)

// gunzip decompresses the body of an answer.
func (a *answer) gunzip() string {
	a.t.Helper()
	if a.header.Get("Content-Encoding") != "gzip" {
		a.t.Fatalf("Content-Encoding %q, want gzip", a.header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		a.t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}

// TestCompression requests compressed responses of one operation.
func TestCompression(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	u := c.db.CreateUser(t)
	p := c.db.CreatePost(t, u.ID, func(p *db.CreatePostParams) { p.Content = strings.Repeat("lorem ipsum ", 500) })
	path := fmt.Sprint("/v1/posts/", p.ID)
	plain := c.do("GET", path, "", "Accept-Encoding", "identity").want(200)
	for accept, packed := range map[string]bool{
		"gzip": true, "GZIP": true, "x-gzip": true, "*": true, "br, gzip;q=0.5": true, "gzip, identity": true, "deflate, gzip;q=1.0, *;q=0.5": true,
		"identity": false, "br": false, "gzip;q=0": false, "gzip;q=0.000": false, "gzip;q=0, *": false, "gzip;q=0.5, identity;q=1": false,
	} {
		a := c.do("GET", path, "", "Accept-Encoding", accept).want(200)
		if !slices.Contains(a.header.Values("Vary"), "Accept-Encoding") {
			t.Errorf("%q: Vary is %q", accept, a.header.Values("Vary"))
		}
		if a.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
			t.Errorf("%q: Content-Length %s of %d bytes", accept, a.header.Get("Content-Length"), len(a.body))
		}
		body, tag := a.body, `"1"`
		if packed {
			body, tag = a.gunzip(), `"1-gzip"`
			if len(a.body) > len(body)/2 {
				t.Errorf("%q: %d bytes of %d", accept, len(a.body), len(body))
			}
		} else if a.header.Get("Content-Encoding") != "" {
			t.Errorf("%q: Content-Encoding %q", accept, a.header.Get("Content-Encoding"))
		}
		if body != plain.body || a.header.Get("ETag") != tag {
			t.Errorf("%q: ETag %s, want %s, and the same body: %t", accept, a.header.Get("ETag"), tag, body == plain.body)
		}
		// The tag of the compressed form is also valid for the other form.
		again := c.do("GET", path, "", "Accept-Encoding", accept, "If-None-Match", tag).want(http.StatusNotModified)
		if again.header.Get("ETag") != tag || !slices.Contains(again.header.Values("Vary"), "Accept-Encoding") {
			t.Errorf("%q: 304 with ETag %s, Vary %q", accept, again.header.Get("ETag"), again.header.Values("Vary"))
		}
	}
	c.do("PATCH", path, `{"title":"new"}`, "If-Match", `"2-gzip"`).problem(412, codeVersionMismatch)
	changed := c.do("PATCH", path, `{"title":"new"}`, "If-Match", `"1-gzip"`, "Accept-Encoding", "gzip").want(200)
	if tag := changed.header.Get("ETag"); tag != `"2-gzip"` || !strings.Contains(changed.gunzip(), `"version":2`) {
		t.Errorf("changed: ETag %s", tag)
	}
	c.do("DELETE", path, "", "If-Match", `W/"2-gzip"`).problem(412, codeVersionMismatch)
	c.do("DELETE", path, "", "If-Match", `"2-gzip"`).want(204)
}

// TestCompression_Others requests a compressed response of every other kind.
func TestCompression_Others(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for range 50 {
		c.db.CreateUser(t)
	}
	for _, path := range []string{"/v1/users", "/v1/users/export", "/openapi.json", "/openapi.yaml", "/docs/swagger-ui.css"} {
		plain := c.do("GET", path, "", "Accept-Encoding", "identity")
		packed := c.do("GET", path, "", "Accept-Encoding", "gzip")
		if got := packed.gunzip(); got != plain.body {
			t.Errorf("%s: %d bytes, compressed %d", path, len(plain.body), len(got))
		}
		if tag := packed.header.Get("ETag"); tag != "" && tag == plain.header.Get("ETag") {
			t.Errorf("%s: both forms have the ETag %s", path, tag)
		}
		if head := c.do("HEAD", path, "", "Accept-Encoding", "gzip"); head.header.Get("Content-Encoding") != "gzip" || head.body != "" {
			t.Errorf("HEAD %s: %q with %d bytes", path, head.header.Get("Content-Encoding"), len(head.body))
		}
	}
	// A short answer is sent uncompressed.
	for _, path := range []string{"/v1/users/1", "/livez", "/docs/favicon.png"} {
		if a := c.do("GET", path, "", "Accept-Encoding", "gzip").want(200); a.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: Content-Encoding %q", path, a.header.Get("Content-Encoding"))
		}
	}
}

// TestGzipBody sends compressed bodies, both valid and invalid ones.
func TestGzipBody(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	names := 0
	user := func(size int) string {
		names++
		return fmt.Sprintf(`{"username":"u%d","email":"x","posts":[{"title":"t","content":%q}]}`, names, strings.Repeat("x", size))
	}
	for _, size := range []int{10, smallBody - 70, smallBody, 100_000, 1_000_000} {
		for _, coding := range []string{"gzip", "GZip", "x-gzip"} {
			body := user(size)
			a := c.do("POST", "/v1/users", gzipped(t, body), "Content-Encoding", coding, "Idempotency-Key", body[13:18]).want(201)
			if !strings.Contains(a.body, strings.Repeat("x", size)+`"`) {
				t.Errorf("%d bytes as %s: stored something else", size, coding)
			}
			// A replay sends the same text, in the form that its own request accepts.
			again := c.do("POST", "/v1/users", body, "Idempotency-Key", body[13:18]).want(201)
			if again.body != a.body || again.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("%d bytes: repeated as plain text, it is another request", size)
			}
		}
	}
	whole := gzipped(t, user(100_000))
	small := gzipped(t, user(10))
	damaged := []byte(whole)
	damaged[len(damaged)-6] ^= 1 // of the checksum
	for name, test := range map[string]struct {
		body, coding string
		status       int
		code         code
		says         string
	}{
		"Bomb":        {gzipped(t, strings.Repeat(" ", 50<<20)), "gzip", 413, codeBodyTooLarge, ""},
		"SmallBomb":   {gzipped(t, `"`+strings.Repeat("x", 3<<20)+`"`), "gzip", 413, codeBodyTooLarge, ""},
		"Truncated":   {whole[:len(whole)-20], "gzip", 400, codeInvalidBody, "not gzip"},
		"Cut":         {small[:len(small)-9], "gzip", 400, codeInvalidBody, "not gzip"},
		"Checksum":    {string(damaged), "gzip", 400, codeInvalidBody, "not gzip"},
		"Trailing":    {small + "{}", "gzip", 400, codeInvalidBody, "not gzip"},
		"Plain":       {user(10), "gzip", 400, codeInvalidBody, "not gzip"},
		"Twice":       {gzipped(t, gzipped(t, user(10))), "gzip, gzip", 415, codeUnsupportedMediaType, "gzip, gzip"},
		"Brotli":      {user(10), "br", 415, codeUnsupportedMediaType, `"br" is not supported. Use gzip`},
		"Deflate":     {user(10), "deflate", 415, codeUnsupportedMediaType, "deflate"},
		"OtherMember": {gzipped(t, `{"username":"ok","email":"x","bogus":1}`), "gzip", 422, codeInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := c.on(t).do("POST", "/v1/users", test.body, "Content-Encoding", test.coding).want(test.status)
			var p Problem
			if a.into(&p); p.Code != test.code || !strings.Contains(p.Detail, test.says) {
				t.Errorf("%s: %s, want %s and %q", p.Code, p.Detail, test.code, test.says)
			}
			if test.status == 415 && a.header.Get("Accept-Encoding") != "gzip" {
				t.Errorf("Accept-Encoding %q, want gzip", a.header.Get("Accept-Encoding"))
			}
		})
	}
}
