package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw sends a request head exactly as given, and returns the status of the response.
func raw(t *testing.T, url, head string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestGuard_Host sends hosts in every form that HTTP allows.
func TestGuard_Host(t *testing.T) {
	t.Parallel()
	strict := serve(t, New(Config{AllowedHosts: []string{"localhost", "127.0.0.1", "::1", "api.example.com"}}))
	for _, c := range []struct {
		head string
		want int
	}{
		{"GET /livez HTTP/1.1\nHost: localhost", 200},
		{"GET /livez HTTP/1.1\nHost: localhost:1", 200},
		{"GET /livez HTTP/1.1\nHost: LocalHost.:8080", 200},
		{"GET /livez HTTP/1.1\nHost: 127.0.0.1:8080", 200},
		{"GET /livez HTTP/1.1\nHost: [::1]:8080", 200},
		{"GET /livez HTTP/1.1\nHost: [::1]", 200},
		{"GET /livez HTTP/1.1\nHost: [0:0:0:0:0:0:0:1]", 200},
		{"GET /livez HTTP/1.1\nHost: [::ffff:127.0.0.1]", 200},
		{"GET /livez HTTP/1.1\nHost: api.example.com", 200},
		{"GET /livez HTTP/1.0", 200},
		{"GET http://localhost/livez HTTP/1.1\nHost: localhost", 200},

		{"GET /livez HTTP/1.1\nHost: evil.example", 421},
		{"GET /livez HTTP/1.1\nHost: evil.example:8080", 421},
		{"GET /livez HTTP/1.1\nHost: localhost.evil.example", 421},
		{"GET /livez HTTP/1.1\nHost: evil-localhost", 421},
		{"GET /livez HTTP/1.1\nHost: 127.0.0.1.evil.example", 421},
		{"GET /livez HTTP/1.1\nHost: 192.0.2.1", 421},
		{"GET /livez HTTP/1.1\nHost: 127.1", 421},
		{"GET /livez HTTP/1.1\nHost: ", 421},
		{"GET /livez HTTP/1.1\nHost: evil.example\nX-Forwarded-Host: localhost", 421},
		{"GET /livez HTTP/1.0\nHost: evil.example", 421},
		{"GET http://evil.example/livez HTTP/1.1\nHost: localhost", 421},
		{"GET /openapi.json HTTP/1.1\nHost: evil.example", 421},
		{"GET /nowhere HTTP/1.1\nHost: evil.example", 421},
	} {
		if got := raw(t, strict, c.head); got != c.want {
			t.Errorf("%q: %d, want %d", c.head, got, c.want)
		}
	}
	// All hosts are accepted without a list, and so is a probe that knows only the address.
	for _, url := range []string{serve(t, New(Config{})), serve(t, New(Config{AllowedHosts: []string{"api.example.com"}}))} {
		if got := raw(t, url, "GET /livez HTTP/1.1\nHost: "+strings.TrimPrefix(url, "http://")); got != 200 {
			t.Errorf("the server's own address: %d", got)
		}
	}
	if got := raw(t, serve(t, New(Config{})), "GET /livez HTTP/1.1\nHost: any.example"); got != 200 {
		t.Errorf("without a list: %d", got)
	}
}

// TestGuard_Origin sends the requests that a page of another site can send.
func TestGuard_Origin(t *testing.T) {
	t.Parallel()
	c := newClient(t, func(cfg *Config) { cfg.AllowedHosts = []string{"127.0.0.1", "api.example.com"} })
	user := func(n int) string { return fmt.Sprintf(`{"username":"u%d","email":"e"}`, n) }
	for n, test := range []struct {
		headers []string
		want    int
	}{
		{nil, 201},
		{[]string{"Origin", c.url}, 201},
		{[]string{"Origin", c.url, "Sec-Fetch-Site", "same-origin"}, 201},
		{[]string{"Sec-Fetch-Site", "none"}, 201},
		{[]string{"Origin", "https://api.example.com"}, 201},
		{[]string{"Origin", "https://api.example.com", "Sec-Fetch-Site", "same-site"}, 201},

		{[]string{"Origin", "https://evil.example"}, 403},
		{[]string{"Origin", "null"}, 403},
		{[]string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "same-site"}, 403},
		{[]string{"Origin", "https://api.example.com.evil.example"}, 403},
	} {
		a := c.do("POST", "/v1/users", user(n), test.headers...).want(test.want)
		if test.want == 403 {
			a.problem(403, codeCrossOrigin)
		}
	}
	for _, request := range [][2]string{{"PATCH", "/v1/users/1"}, {"DELETE", "/v1/users/1"}, {"POST", "/v1/users/import"}, {"POST", "/v1/users/delete"}} {
		c.do(request[0], request[1], `{}`, "Origin", "https://evil.example").problem(403, codeCrossOrigin)
	}
	c.do("GET", "/v1/users/1", "", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site").want(200)
	if n := c.db.Count(t, "SELECT count(*) FROM users"); n != 6 {
		t.Errorf("%d users stored, want those of the 6 requests that were let in", n)
	}
}
