//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quern/internal/localcluster"
)

// serving is the server's own binary under writers that repeat each request
// with its key until it is acknowledged.
type serving struct {
	lab     *lab
	host    *host // nil for loopback
	name    string
	base    string
	env     []string
	process *process
	home    string
	owner   int64 // owner of the posts

	mu       sync.Mutex
	acks     map[string]ack
	attempts int
	slowest  time.Duration // of the attempts
	stop     func()
}

// ack is an acknowledged write.
type ack struct {
	id    int64
	asked time.Time // time of the first attempt
	at    time.Time
}

var buildServer = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(theLab.dir, "server")
	out, err := exec.Command("go", "build", "-o", binary, "quern/cmd/server").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build the server: %w: %s", err, out)
	}
	return binary, err
})

// serve starts the server on the members of the cluster.
func (p *patroni) serve(t testing.TB, name string, settings ...string) *serving {
	t.Helper()
	var replicas []string
	for _, m := range p.members { // including the current primary
		replicas = append(replicas, m.node.url())
	}
	return p.lab.serve(t, p.network.named("server"), name, append([]string{"DATABASE_URL=" + p.url(), "DATABASE_REPLICA_URLS=" + strings.Join(replicas, " ")}, settings...)...)
}

// serve starts the server with the given settings, on a host or on loopback.
func (l *lab) serve(t testing.TB, h *host, name string, settings ...string) *serving {
	t.Helper()
	address := fmt.Sprintf("%s:%d", h.ip(), localcluster.FreePort())
	s := &serving{lab: l, host: h, name: name, base: "http://" + address, home: l.folder(t, l.dir, "server"), acks: map[string]ack{}}
	s.env = append([]string{"PATH=" + os.Getenv("PATH"), "LISTEN=" + address, "INSECURE=true", "POOL_MAX_CONNS=8", "MIGRATE=false"}, settings...)
	t.Cleanup(func() {
		if s.stop != nil {
			s.stop()
		}
		if s.process != nil {
			s.process.kill()
		}
		if t.Failed() {
			said := s.said()
			t.Logf("the end of the log of the server %s:\n%s", name, said[max(0, len(said)-3000):])
		}
		os.RemoveAll(s.home)
	})
	s.start(t)
	return s
}

// start starts the server's process and returns when it is ready.
func (s *serving) start(t testing.TB) {
	t.Helper()
	binary, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(s.home, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := s.lab.command(binary)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.env, s.home, log, log
	if s.process, err = spawnOn(s.host, cmd); err != nil {
		t.Fatal(err)
	}
	eventually(t, startLimit, "the server is ready", func() bool { return getStatus(s.base+"/readyz") == http.StatusOK })
}

// metrics returns the server's metrics, or "" if it does not answer.
func (s *serving) metrics() string {
	response, err := restClient.Get(s.base + "/metrics")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return string(text)
}

func (s *serving) said() string {
	text, _ := os.ReadFile(filepath.Join(s.home, "log"))
	return string(text)
}

// write starts n writers.
func (s *serving) write(t testing.TB, n int) {
	t.Helper()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	var owner struct{ ID int64 }
	status, text, err := s.post(client, "/v1/users", fmt.Sprintf(`{"username":"owner of %s","email":"x"}`, s.name), "")
	if err != nil || status != http.StatusCreated || json.Unmarshal(text, &owner) != nil {
		t.Fatalf("create a user: %d %s %v", status, text, err)
	}
	s.owner = owner.ID
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var all sync.WaitGroup
	for writer := range n {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				s.writeOne(ctx, t, client, fmt.Sprintf("%s-%d-%d", s.name, writer, i))
			}
		})
	}
	s.stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
		client.CloseIdleConnections()
	})
}

// writeOne repeats a request until it is acknowledged or ctx ends.
func (s *serving) writeOne(ctx context.Context, t testing.TB, client *http.Client, title string) {
	asked := time.Now()
	for ctx.Err() == nil {
		began := time.Now()
		status, text, err := s.post(client, fmt.Sprintf("/v1/users/%d/posts", s.owner), fmt.Sprintf(`{"title":%q,"content":""}`, title), title)
		s.mu.Lock()
		s.slowest = max(s.slowest, time.Since(began))
		s.attempts++
		if err == nil && status == http.StatusCreated {
			var row struct{ ID int64 }
			_ = json.Unmarshal(text, &row)
			s.acks[title] = ack{row.ID, asked, time.Now()}
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if err == nil && status < 500 && status != http.StatusConflict {
			t.Errorf("%s is answered with %d %s", title, status, text)
			return
		}
		pauseFor(ctx, 10*time.Millisecond)
	}
}

func (s *serving) post(client *http.Client, path, body, key string) (int, []byte, error) {
	request, err := http.NewRequest(http.MethodPost, s.base+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, text, err
}

// acknowledged returns the number of acknowledged writes whose first attempt
// was after the given time.
func (s *serving) acknowledged(after time.Time) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after.IsZero() {
		return len(s.acks)
	}
	for _, a := range s.acks {
		if a.asked.After(after) {
			n++
		}
	}
	return n
}

// verdict compares the acknowledged writes with the rows that a node stores.
type verdict struct {
	acknowledged, attempts int
	lost                   []time.Time // when they were acknowledged, sorted
	doubled, altered       int
	gap                    time.Duration // the longest time without an acknowledgement
}

func (s *serving) verdict(t testing.TB, n *node) verdict {
	t.Helper()
	type row struct {
		N  int
		ID int64
	}
	stored := ask[map[string]row](t, n, `
		SELECT coalesce(jsonb_object_agg(title, jsonb_build_object('n', n, 'id', id)), '{}')
		FROM (SELECT title, count(*) AS n, min(id) AS id FROM posts GROUP BY title) AS p`)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := verdict{acknowledged: len(s.acks), attempts: s.attempts}
	var times []time.Time
	for title, a := range s.acks {
		times = append(times, a.at)
		switch got := stored[title]; {
		case got.N == 0:
			v.lost = append(v.lost, a.at)
		case got.N > 1:
			v.doubled++
		case got.ID != a.id:
			v.altered++
		}
	}
	slices.SortFunc(v.lost, time.Time.Compare)
	slices.SortFunc(times, time.Time.Compare)
	for i := range len(times) - 1 {
		v.gap = max(v.gap, times[i+1].Sub(times[i]))
	}
	return v
}

func (v verdict) String() string {
	return fmt.Sprintf("%d acknowledged in %d attempts, %d lost, %d doubled, %d altered; nothing was acknowledged for %v",
		v.acknowledged, v.attempts, len(v.lost), v.doubled, v.altered, v.gap.Round(time.Millisecond))
}

// createUser returns a new user's id and name, and the token of the response.
func (s *serving) createUser(t testing.TB) (id int64, name, token string) {
	t.Helper()
	name = newUser().Username
	var response *http.Response
	eventually(t, startLimit, "a user is created", func() (done bool) {
		var err error
		response, err = restClient.Post(s.base+"/v1/users", "application/json", strings.NewReader(fmt.Sprintf(`{"username":%q,"email":"x"}`, name)))
		if err != nil {
			return false
		}
		defer response.Body.Close()
		var row struct{ ID int64 }
		if response.StatusCode == http.StatusCreated && json.NewDecoder(response.Body).Decode(&row) == nil {
			id = row.ID
		}
		return id != 0
	})
	return id, name, response.Header.Get("Consistency-Token")
}

// readOwnWrites creates n users, reads each with the token of its response, and
// returns the number of wrong results.
func (s *serving) readOwnWrites(t testing.TB, n int) (wrong int) {
	t.Helper()
	for range n {
		id, name, token := s.createUser(t)
		request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/v1/users/%d", s.base, id), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Consistency-Token", token)
		response, err := restClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Username string }
		err = json.NewDecoder(response.Body).Decode(&got)
		response.Body.Close()
		if err != nil || got.Username != name {
			wrong++
			t.Errorf("user %d, which is %s, was read back as %d %q", id, name, response.StatusCode, got.Username)
		}
	}
	return wrong
}
