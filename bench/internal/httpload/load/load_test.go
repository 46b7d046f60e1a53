package load

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func run(t *testing.T, answer func(w http.ResponseWriter, id int64)) (Report, error) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(strings.TrimPrefix(r.URL.Path, "/v1/users/"), 10, 64)
		if err != nil || id < 5 || id > 9 {
			t.Errorf("%s: the ids are 5 to 9", r.URL.Path)
		}
		answer(w, id)
	}))
	t.Cleanup(s.Close)
	return Run(t.Context(), Config{URL: s.URL, Connections: 8, Lo: 5, Hi: 9, Duration: 100 * time.Millisecond, Seed: 1})
}

func TestRun(t *testing.T) {
	t.Parallel()
	r, err := run(t, func(w http.ResponseWriter, id int64) {
		time.Sleep(time.Millisecond)
		fmt.Fprintf(w, `{"name":"x","id":%d}`, id)
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests < 8 || r.P50 < time.Millisecond || r.P99 < r.P50 || r.Elapsed < 100*time.Millisecond {
		t.Errorf("%+v: 8 connections wait a millisecond for each answer", r)
	}
}

func TestRunRefused(t *testing.T) {
	t.Parallel()
	r, err := run(t, func(w http.ResponseWriter, id int64) {
		if id == 7 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"id":%d}`, id)
	})
	if err != nil || r.Requests == 0 || r.Refused == 0 {
		t.Errorf("%+v, %v: user 7 is refused and the others are not", r, err)
	}
	if _, err := run(t, func(w http.ResponseWriter, _ int64) { w.WriteHeader(http.StatusGatewayTimeout) }); err == nil {
		t.Error("a server that refuses everything was measured")
	}
}

// TestRunWrongAnswer checks that one wrong answer among right ones is found.
func TestRunWrongAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, id int64){
		"another user": func(w http.ResponseWriter, id int64) { fmt.Fprintf(w, `{"id":%d}`, id+1) },
		"a longer id":  func(w http.ResponseWriter, id int64) { fmt.Fprintf(w, `{"id":%d0}`, id) },
		"in a string":  func(w http.ResponseWriter, id int64) { fmt.Fprintf(w, `{"name":"\"id\":%d,"}`, id) },
		"nothing":      func(http.ResponseWriter, int64) {},
		"a failure": func(w http.ResponseWriter, id int64) {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprintf(w, `{"id":%d}`, id)
		},
		"a broken connection": func(http.ResponseWriter, int64) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, func(w http.ResponseWriter, id int64) {
				if id == 7 {
					answer(w, id)
					return
				}
				fmt.Fprintf(w, `{"id":%d}`, id)
			})
			if err == nil || !strings.Contains(err.Error(), "/v1/users/7") {
				t.Errorf("%v, want an error about user 7", err)
			}
		})
	}
}

func TestReadResponse(t *testing.T) {
	t.Parallel()
	for response, want := range map[string]string{
		"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX: y\r\n\r\nhello":                             "200 hello",
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n":                                   "404 ",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n": "200 hello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell":                                      "",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n":          "",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff":                               "",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n":                           "",
		"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello":                                    "",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello":                "",
		"HTTP/1.1 200 OK\r\n\r\nhello":                                                          "",
		"SSH-2.0-OpenSSH_9.2\r\n":                                                               "",
		"HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello":                                     "",
		"": "",
	} {
		r := bufio.NewReader(iotest.OneByteReader(strings.NewReader(response)))
		status, body, err := readResponse(r, nil)
		got := ""
		if err == nil {
			got = fmt.Sprintf("%d %s", status, body)
		}
		if got != want || (want != "" && r.Buffered() > 0) {
			t.Errorf("%q: %q (%v), want %q", response, got, err, want)
		}
	}
}
