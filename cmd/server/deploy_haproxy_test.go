package main

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quern/internal/storetest"
)

// TestDeploy_HAProxy serves through deploy/haproxy.cfg from two processes, and ends one of them
// under load: with SHUTDOWN_DELAY no request fails.
func TestDeploy_HAProxy(t *testing.T) {
	t.Parallel()
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed")
	}
	address := storetest.NewURL(t)
	first := serve(t, t.TempDir(), "DATABASE_URL="+address, "SHUTDOWN_DELAY=3s")
	second := serve(t, t.TempDir(), "DATABASE_URL="+address, "SHUTDOWN_DELAY=3s")
	front := freeAddress(t)
	config := strings.NewReplacer(
		"127.0.0.1:8080", front,
		"127.0.0.1:8081", strings.TrimPrefix(first.base, "http://"),
		"127.0.0.1:8082", strings.TrimPrefix(second.base, "http://"),
		"127.0.0.1:5000", freeAddress(t),
	).Replace(deployFile(t, "haproxy.cfg"))
	name := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	balancer := exec.Command(haproxy, "-db", "-f", name)
	var log lines
	log.more = make(chan struct{}, 1)
	balancer.Stdout, balancer.Stderr = &log, &log
	if err := balancer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = balancer.Process.Kill()
		_ = balancer.Wait()
		if t.Failed() {
			t.Logf("haproxy wrote:\n%s", &log)
		}
	})
	through := &process{base: "http://" + front}
	eventually(t, "HAProxy forwards", func() bool {
		response, err := http.Get(through.base + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})

	var done, failed atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				response, err := http.Get(through.base + "/v1/users")
				if err != nil {
					failed.Add(1)
					continue
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					failed.Add(1)
				}
				done.Add(1)
			}
		})
	}
	eventually(t, "requests are answered", func() bool { return done.Load() > 50 })
	if code := first.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the process exited with %d", code)
	}
	after := done.Load()
	eventually(t, "requests are answered by the other process", func() bool { return done.Load() > after+50 })
	close(stop)
	clients.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, done.Load())
	}
}

// freeAddress returns an address on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
