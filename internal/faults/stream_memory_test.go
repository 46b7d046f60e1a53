//go:build linux

package faults

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestStreamMemory measures the memory of a server under many concurrent requests
// of one kind. The requests are small gzipped imports that expand to endless
// lines, to records of millions of values, or only to rejects, and exports of long
// rows.
func TestStreamMemory(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", exe, "../../cmd/server").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := newCluster(t, clusterConfig{settings: quick}).primary
	watch := func(name string, request func(s *server, i int) (*http.Request, error)) {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, exe, "DATABASE_URL="+n.url())
			idle := s.memory(t, "VmRSS")
			var all sync.WaitGroup
			for i := range times(8, 32) {
				all.Go(func() {
					for range 100 {
						r, err := request(s, i)
						if err != nil {
							t.Error(err)
							return
						}
						resp, err := http.DefaultClient.Do(r)
						if err != nil {
							t.Error(err)
							return
						}
						_, err = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
						if err == nil && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnprocessableEntity) {
							return // 422, because it has no valid row
						}
						if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
							t.Errorf("%d, %v", resp.StatusCode, err)
							return
						}
					}
					t.Error("refused for too long")
				})
			}
			all.Wait()
			peak := s.memory(t, "VmHWM") - idle
			t.Logf("idle %d MiB, peak + %d MiB", idle>>20, peak>>20)
			if peak > importBound {
				t.Errorf("the peak is %d MiB above %d MiB, where the bound is %d MiB", peak>>20, idle>>20, importBound>>20)
			}
		})
	}
	const csv = "title,username,content\n"
	for _, c := range []struct {
		name, media, head, unit string
		times                   int
	}{
		{"LineWithoutEnd", "application/x-ndjson", `{"title":"`, strings.Repeat("x", 1<<20), times(100, 500)},
		{"Fields", "text/csv", csv, strings.Repeat(",", 7<<20) + "\n", times(3, 6)},
		{"Quotes", "text/csv", csv, `a,"` + strings.Repeat("\"\"\n", 1<<17), times(2, 4)},
		{"Rejects", "text/csv", csv, strings.Repeat("x\n", 1<<17), times(1, 2)},
		{"Nested", "application/x-ndjson", "", strings.Repeat("[", 7<<20) + "\n", times(3, 6)},
		{"Tags", "application/x-ndjson", "", `{"username":"ann","title":"t","content":"","tags":[` + strings.Repeat(`"a",`, 1<<20) + "\"b\"]}\n", times(3, 6)},
	} {
		var body bytes.Buffer
		z := gzip.NewWriter(&body)
		text := io.MultiReader(strings.NewReader(c.head), strings.NewReader(strings.Repeat(c.unit, c.times)))
		if _, err := io.Copy(z, text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		watch(c.name, func(s *server, i int) (*http.Request, error) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+"/v1/posts/import", bytes.NewReader(body.Bytes()))
			if err == nil {
				r.Header.Set("Content-Type", c.media)
				r.Header.Set("Idempotency-Key", fmt.Sprint(c.name, i))
			}
			return r, err
		})
	}
	for _, insert := range []string{
		"INSERT INTO users (username, email) VALUES ('ann', 'a')",
		fmt.Sprintf("INSERT INTO posts (user_id, title, content) SELECT 1, 't', repeat('words and ', %d) FROM generate_series(1, %d)", longRow/10, times(5, 20)),
	} {
		if err := n.exec(t.Context(), database, insert); err != nil {
			t.Fatal(err)
		}
	}
	watch("Export", func(s *server, _ int) (*http.Request, error) {
		return http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/v1/posts/export", nil)
	})
}
