package api

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestBody(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for name, test := range map[string]struct {
		body        string
		contentType string
		status      int
		code        code
		locations   []string
	}{
		"Empty":            {"", "application/json", 400, codeInvalidBody, nil},
		"EmptyWithoutType": {"", "", 400, codeInvalidBody, nil},
		"Spaces":           {"  \n", "application/json", 400, codeInvalidBody, []string{"body"}},
		"NotJSON":          {"username=ada", "application/json", 400, codeInvalidBody, []string{"body"}},
		"Truncated":        {`{"username":"ada"`, "application/json", 400, codeInvalidBody, []string{"body"}},
		"TrailingGarbage":  {`{"username":"ada","email":"x"} x`, "application/json", 400, codeInvalidBody, []string{"body"}},
		"TwoTexts":         {`{"username":"ada","email":"x"}{}`, "application/json", 400, codeInvalidBody, []string{"body"}},
		"BadUTF8":          {"{\"username\":\"ad\xff\",\"email\":\"x\"}", "application/json", 400, codeInvalidBody, []string{"body"}},
		"UTF16":            {"\xff\xfe{\x00}\x00", "application/json", 400, codeInvalidBody, []string{"body"}},
		"ByteOrderMark":    {"\xef\xbb\xbf{}", "application/json", 400, codeInvalidBody, []string{"body"}},
		"LoneSurrogate":    {`{"username":"\ud800","email":"x"}`, "application/json", 400, codeInvalidBody, []string{"body"}},
		"RawNUL":           {"{\"username\":\"a\x00\",\"email\":\"x\"}", "application/json", 400, codeInvalidBody, []string{"body"}},
		"HugeNumber":       {`{"username":"a","email":"x","age":1e400}`, "application/json", 422, codeInvalid, []string{"body.age"}},
		"TooDeep":          {strings.Repeat("[", 20_000), "application/json", 400, codeInvalidBody, []string{"body"}},
		"Form":             {"username=ada", "application/x-www-form-urlencoded", 415, codeUnsupportedMediaType, nil},
		"Text":             {"{}", "text/plain", 415, codeUnsupportedMediaType, nil},
		"NoType":           {"{}", "", 415, codeUnsupportedMediaType, nil},
		"BadType":          {"{}", "application/json; charset", 415, codeUnsupportedMediaType, nil},
		"Latin1":           {"{}", "application/json; charset=iso-8859-1", 415, codeUnsupportedMediaType, nil},
		"OtherJSON":        {"{}", "application/ld+json", 415, codeUnsupportedMediaType, nil},
		"PatchForPost":     {"{}", mergePatch, 415, codeUnsupportedMediaType, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.on(t)
			p := c.do("POST", "/v1/users", test.body, "Content-Type", test.contentType).problem(test.status, test.code, test.locations...)
			for _, e := range p.Errors {
				if e.Value != nil || strings.Contains(e.Message, "json:") || strings.Contains(e.Message, "Go ") {
					t.Errorf("the error is %+v, want no value and no Go", e)
				}
			}
		})
	}
	c.do("POST", "/v1/users", "{}", "Content-Encoding", "deflate").problem(415, codeUnsupportedMediaType)
	c.do("PATCH", "/v1/users/1", "[]", "Content-Type", "application/json-patch+json").problem(415, codeUnsupportedMediaType)
	// Both a parameter and the body are invalid.
	c.do("POST", "/v1/users?x=1", `{"username":""}`).problem(422, codeInvalid, "body.email", "body.username", "query.x")
	c.do("POST", "/v1/users", `{"username":"ada","email":"x"}`, "Content-Type", "APPLICATION/JSON;charset=utf-8").want(201)
}

// counter counts the bytes that a goroutine of the client reads.
type counter struct {
	io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestBody_TooLarge(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) { cfg.MaxBodyBytes = 1000 })
	body := `{"username":"ada","email":"x"}`
	c.do("POST", "/v1/users", body+strings.Repeat(" ", 1000-len(body))).want(201)
	c.do("POST", "/v1/users", body+strings.Repeat(" ", 1001-len(body))).problem(413, codeBodyTooLarge)
	// The body is one byte too long and has no Content-Length.
	chunked := io.MultiReader(strings.NewReader(body), strings.NewReader(strings.Repeat(" ", 1001-len(body))))
	c.send("POST", "/v1/users", chunked).problem(413, codeBodyTooLarge)

	const large = 10 << 20
	c = newClient(t)
	c.do("POST", "/v1/users", strings.Repeat(" ", large)).problem(413, codeBodyTooLarge)
	endless := &counter{Reader: io.LimitReader(spaces{}, 1<<30)}
	c.send("POST", "/v1/users", endless).problem(413, codeBodyTooLarge)
	if n := endless.n.Load(); n > 100<<20 {
		t.Errorf("%d MiB of an endless body were taken", n>>20)
	}
	if c.log.String() != "" {
		t.Errorf("logged: %s", c.log)
	}
}

// raw sends a part of a request, closes its side of the connection, and returns the answer.
func (c *client) raw(request string) string {
	c.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		c.t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(said)
}

// TestBody_Partial breaks off in the middle of a body.
func TestBody_Partial(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const head = "POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	for request, want := range map[string]code{
		"Content-Length: 100\r\n\r\n{\"user":        codeInvalidBody,
		"Transfer-Encoding: chunked\r\n\r\n5\r\n{}": codeInvalidBody,
		"Transfer-Encoding: chunked\r\n\r\nx":       codeInvalidBody,
		// Rejected because of its Content-Length, before the body is read.
		"Content-Length: 10000000\r\n\r\n": codeBodyTooLarge,
	} {
		if said := c.raw(head + request); !strings.Contains(said, `"code":"`+string(want)+`"`) {
			t.Errorf("%q is answered with %q, want %s", request, said, want)
		}
	}
	if n := c.db.Count(t, "SELECT count(*) FROM users"); n != 0 || c.log.String() != "" {
		t.Errorf("%d users stored, logged %q", n, c.log)
	}
}
