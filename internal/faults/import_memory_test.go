//go:build linux

package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The length of the content of an imported row.
const (
	longRow  = 7_000_000
	shortRow = 200
)

// importBound is the memory that imports may take beyond that of an idle server: the default of
// IMPORT_MEMORY, and half as much for garbage that the runtime has not collected yet.
const importBound = 192 << 20

// TestImportMemory sends a server many imports at once, of long and of short rows, and measures
// its memory. All rows must be stored, possibly after a refusal and a repetition, and the memory
// must be returned. The control has no bound.
func TestImportMemory(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "server")
	// Without the race detector, which takes several times the memory.
	if out, err := exec.Command("go", "build", "-o", exe, "../../cmd/server").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		name, memory        string
		bounded             bool
		imports, rows, size int
	}{
		{"Long", "128MB", true, times(10, 32), times(1, 3), longRow},
		{"LongUnbounded", "1000GB", false, times(16, 32), times(1, 3), longRow},
		{"Short", "128MB", true, times(10, 32), times(10_000, 50_000), shortRow},
		{"ShortUnbounded", "1000GB", false, 32, 50_000, shortRow},
	} {
		if c.name == "ShortUnbounded" && !long {
			continue // it needs as many as the long form has
		}
		t.Run(c.name, func(t *testing.T) {
			checkLeaks(t)
			n := newCluster(t, clusterConfig{settings: quick}).primary
			s := startServer(t, exe, "DATABASE_URL="+n.url(), "IMPORT_MEMORY="+c.memory)
			s.post(t, "/v1/users", `{"username":"ann","email":"a"}`, "application/json")
			idle := s.memory(t, "VmRSS")
			var all sync.WaitGroup
			start := time.Now()
			for i := range c.imports {
				all.Go(func() { s.importPosts(t, i, c.rows, c.size) })
			}
			all.Wait()
			took := time.Since(start)
			peak := s.memory(t, "VmHWM") - idle
			t.Logf("%d imports of %d rows of %d bytes in %v: idle %d MiB, peak + %d MiB", c.imports, c.rows, c.size, took, idle>>20, peak>>20)
			if c.bounded != (peak <= importBound) {
				t.Errorf("the peak is %d MiB above %d MiB, where the bound is %d MiB", peak>>20, idle>>20, importBound>>20)
			}
			count := ask[int](t, n, fmt.Sprintf("SELECT count(DISTINCT title) FROM posts WHERE length(content) = %d", c.size))
			if count != c.imports*c.rows {
				t.Errorf("%d rows are stored, want %d", count, c.imports*c.rows)
			}
			if c.bounded {
				eventually(t, 20*time.Second, "the memory of the imports is given back", func() bool { return s.memory(t, "VmRSS")-idle < 32<<20 })
			}
		})
	}
}

// server is a process of cmd/server.
type server struct {
	*process
	base string
}

func startServer(t *testing.T, exe string, env ...string) *server {
	t.Helper()
	cmd := exec.Command(exe)
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{"LISTEN=127.0.0.1:0", "LOG_LEVEL=error", "PATH=" + os.Getenv("PATH")}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := spawn(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may have ended
		<-p.done
	})
	s := &server{process: p}
	for lines := bufio.NewScanner(stdout); s.base == "" && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Home"); ok {
			s.base = strings.TrimSuffix(strings.TrimSpace(rest), "/")
		}
	}
	if s.base == "" {
		t.Fatalf("the server did not start: %s", stderr.String())
	}
	return s
}

// memory returns a line of the process's status in bytes.
func (s *server) memory(t *testing.T, line string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), line+":")
	kB, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

func (s *server) post(t *testing.T, path, body, media string) {
	t.Helper()
	resp, err := http.Post(s.base+path, media, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
}

// importPosts imports a generated file, and repeats the import if it is refused.
func (s *server) importPosts(t *testing.T, file, rows, size int) {
	content := strings.Repeat("words and ", size/10) // compressible by PostgreSQL
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
		body, w := io.Pipe()
		go func() {
			out := bufio.NewWriter(w)
			fmt.Fprintln(out, "title,username,content")
			for n := range rows {
				fmt.Fprintf(out, "import %d row %d,ann,", file, n)
				_, _ = out.WriteString(content) // Flush returns the error
				_ = out.WriteByte('\n')
			}
			_ = w.CloseWithError(out.Flush())
		}()
		resp, err := client.Post(s.base+"/v1/posts/import", "text/csv", body)
		if err != nil {
			t.Errorf("import %d: %v", file, err)
			return
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		var got struct {
			Code              string
			Inserted, Resumed int
		}
		switch {
		case err != nil, json.Unmarshal(text, &got) != nil:
			t.Errorf("import %d: %v %s", file, err, text)
			return
		case resp.StatusCode == http.StatusOK:
			if got.Inserted+got.Resumed != rows {
				t.Errorf("import %d: %s", file, text)
			}
			return
		case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "":
			t.Errorf("import %d: %d %s", file, resp.StatusCode, text)
			return
		}
	}
	t.Errorf("import %d: refused for too long", file)
}
