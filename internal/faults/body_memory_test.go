//go:build linux

package faults

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBodyMemory sends a server many large bodies at once and measures its
// memory. The controls have no bound.
func TestBodyMemory(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", exe, "../../cmd/server").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var changes strings.Builder
	for id := range 10_000 {
		fmt.Fprintf(&changes, `,{"id":%d,"email":"%s","tags":[%s"z"]}`, id+1, strings.Repeat("e", 90), strings.Repeat(`"abcdefgh",`, 30))
	}
	post := `{"title":"t","content":"` + strings.Repeat("words and ", 100_000) + `"}`
	lists := `{"name":"n","payload":{"a":[` + strings.Repeat("[],", 300_000) + `[]]}}`
	for _, c := range []struct {
		name, method, path, body string
		want, requests           int
		memory                   string
		bounded                  bool
	}{
		{"Create", "POST", "/v1/users/1/posts", post, http.StatusCreated, times(16, 128), "128MB", true},
		{"CreateUnbounded", "POST", "/v1/users/1/posts", post, 0, 64, "1000GB", false},
		{"Bulk", "PATCH", "/v1/users", "[" + changes.String()[1:] + "]", http.StatusOK, times(3, 32), "128MB", true},
		{"Lists", "POST", "/v1/tasks", lists, http.StatusCreated, times(8, 64), "128MB", true},
		{"ListsUnbounded", "POST", "/v1/tasks", lists, 0, 16, "1000GB", false},
		{"BulkLists", "PATCH", "/v1/users", "[" + strings.Repeat("{},", 2_700_000) + "{}]", http.StatusUnprocessableEntity, times(8, 32), "128MB", true},
		{"BulkFaults", "PATCH", "/v1/users", "[" + strings.Repeat(`{"id":0,"tags":[`+strings.Repeat("1,", 90)+"1]},", 9_000) + "{}]", http.StatusUnprocessableEntity, times(8, 32), "128MB", true},
	} {
		if !long && (c.name == "CreateUnbounded" || c.name == "Bulk" || c.name == "Lists") {
			continue // the other cases show the same in less time
		}
		t.Run(c.name, func(t *testing.T) {
			checkLeaks(t)
			n := newCluster(t, clusterConfig{settings: quick}).primary
			s := startServer(t, exe, "DATABASE_URL="+n.url(), "BODY_MEMORY="+c.memory)
			s.post(t, "/v1/users", `{"username":"ann","email":"a"}`, "application/json")
			idle := s.memory(t, "VmRSS")
			var all sync.WaitGroup
			start := time.Now()
			for range c.requests {
				all.Go(func() { s.repeat(t, c.method, c.path, c.body, c.want) })
			}
			all.Wait()
			peak := s.memory(t, "VmHWM") - idle
			t.Logf("%d bodies of %d bytes in %v: idle %d MiB, peak + %d MiB", c.requests, len(c.body), time.Since(start), idle>>20, peak>>20)
			if c.bounded != (peak <= importBound) {
				t.Errorf("the peak is %d MiB above %d MiB, where the bound is %d MiB", peak>>20, idle>>20, importBound>>20)
			}
		})
	}
}

// repeat sends a request until the answer is not 503. If want is 0, it accepts
// any other answer.
func (s *server) repeat(t *testing.T, method, path, body string, want int) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
		r, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(r)
		if err != nil {
			// A server that refuses a body does not read it.
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			t.Error(err)
			return
		case resp.StatusCode == want, want == 0:
			return
		case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "":
			t.Errorf("%d %.200s", resp.StatusCode, text)
			return
		}
	}
	t.Error("refused for too long")
}
