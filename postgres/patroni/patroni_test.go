package patroni_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"quern/postgres/patroni"
)

// answer is one of Patroni 3.0.2, with a member that is tagged and one that has no
// PostgreSQL yet.
const answer = `{"members": [
	{"name": "ada", "role": "leader", "state": "running", "api_url": "http://127.0.0.1:8001/patroni", "host": "127.0.0.1", "port": 5401, "timeline": 3},
	{"name": "ben", "role": "replica", "state": "streaming", "api_url": "http://[::1]:8002/patroni", "host": "::1", "port": 5402, "timeline": 3, "lag": 0},
	{"name": "cyd", "role": "replica", "state": "streaming", "api_url": "http://127.0.0.1:8003/patroni", "host": "127.0.0.1", "port": 5403, "timeline": 3, "lag": "unknown", "tags": {"noloadbalance": true}},
	{"name": "dot", "role": "replica", "state": "creating replica", "api_url": "http://127.0.0.1:8004/patroni"}
], "scope": "quern"}`

// member serves an answer of the REST API.
func member(t *testing.T, status int, answer string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cluster" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	good := member(t, http.StatusOK, answer)
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	want := []string{"127.0.0.1:5401", "[::1]:5402"}
	for name, urls := range map[string][]string{
		"Good":     {good},
		"Slash":    {good + "/"},
		"OneDown":  {down.URL, good},
		"OneWrong": {member(t, http.StatusServiceUnavailable, ""), member(t, http.StatusOK, "<html>"), good},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 5 { // the first one that is asked is random
				c, err := patroni.New(urls...)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := c.Addresses(t.Context()); err != nil || !slices.Equal(got, want) {
					t.Errorf("addresses %q, %v, want %q", got, err, want)
				}
			}
		})
	}
}

func TestAddresses_Fails(t *testing.T) {
	t.Parallel()
	for hint, url := range map[string]string{
		"check that it is the REST API": member(t, http.StatusServiceUnavailable, ""),
		"is not one of Patroni":         member(t, http.StatusOK, "<html>"),
	} {
		c, err := patroni.New(url)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Addresses(t.Context()); err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("addresses %q, %v, want %q", got, err, hint)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"node1:8008", "/cluster", "ftp://node1", "http://", "http://user:hunter2@node1:8008"} {
		if _, err := patroni.New(url); err == nil || !strings.Contains(err.Error(), "http://node1:8008") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
