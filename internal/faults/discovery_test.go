//go:build linux

package faults

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// directory lists servers, as the REST API of a cluster does.
type directory struct {
	mu    sync.Mutex
	list  []string
	err   error
	asked int
}

func (d *directory) addresses(context.Context) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return slices.Clone(d.list), d.err
}

// set changes the answer.
func (d *directory) set(err error, list ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list, d.err, d.asked = list, err, 0
}

// await returns once the Router has evaluated the answer.
func (d *directory) await(t testing.TB) {
	t.Helper()
	// The second call begins after the first one was evaluated.
	eventually(t, startLimit, "the list is queried", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.asked >= 2
	})
}

// safeBuffer is a log that several goroutines write.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) count(line string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), line)
}

// discovering is a Router that discovers the replicas of a cluster, under callers that write
// rows and read them.
type discovering struct {
	*replicated
	directory *directory
	router    *postgres.Router
	queries   *db.Queries
	log       *safeBuffer
	calls     tally
}

func newDiscovering(t *testing.T) *discovering {
	t.Helper()
	d := &discovering{replicated: newReplicated(t), directory: &directory{}, log: &safeBuffer{}}
	d.directory.list = []string{d.primary.address()}
	cfg := d.config()
	cfg.ReplicaURLs, cfg.ReplicaDiscovery = nil, d.directory.addresses
	cfg.Statements, cfg.Logger = patient, slog.New(slog.NewTextHandler(d.log, nil))
	var err error
	if d.router, err = postgres.Connect(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.router.Close)
	d.queries = db.New(d.router)
	return d
}

// load writes rows and reads them until the returned function is called.
func (d *discovering) load(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for ctx.Err() == nil {
				// Without ctx, because a call that is cancelled would count as failed.
				own, _ := postgres.WithSession(t.Context())
				u, err := d.queries.CreateUser(own, newUser())
				if err != nil {
					d.calls.failed.Add(1)
					d.calls.example.Store(err.Error())
					continue
				}
				for range 10 {
					d.calls.read(d.queries, own, u.ID, u.Version)
					pauseFor(ctx, 2*time.Millisecond)
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
}

// server returns the state of the server at an address, or nil.
func (d *discovering) server(address string) *postgres.ServerState {
	for _, s := range d.router.Snapshot().Servers {
		if s.Name == address {
			return &s
		}
	}
	return nil
}

// awaitUse returns once a standby has answered more reads, and fails after a few seconds.
func (d *discovering) awaitUse(t *testing.T, p *proxy) {
	t.Helper()
	before, began := served(p), time.Now()
	eventually(t, startLimit, "the replica at "+p.address()+" answers reads", func() bool { return served(p) > before+10 })
	t.Logf("%s is used after %v", p.address(), time.Since(began).Round(time.Millisecond))
}

// TestDiscovery adds and removes replicas under load, without a failed or stale read. While
// discovery fails, the known replicas stay in use. A server of another cluster is not used.
func TestDiscovery(t *testing.T) {
	checkLeaks(t)
	d := newDiscovering(t)
	one, two, primary := d.proxies[0], d.proxies[1], d.primary.address()
	stop := d.load(t)
	defer stop()

	d.directory.set(nil, primary, one.address())
	d.awaitUse(t, one)

	// One goes while the other one comes. It leaves reads unanswered then.
	one.lose(func(sql string) bool { return strings.Contains(sql, "GetUser") }, func(int) fault { return hang })
	eventually(t, startLimit, "a read waits on the replica", func() bool { return one.losses() > 0 })
	d.directory.set(nil, primary, two.address())
	eventually(t, startLimit, "the replica that has gone is forgotten", func() bool { return d.server(one.address()) == nil })
	one.lose(nil, nil)
	d.awaitUse(t, two)
	eventually(t, startLimit, "the connections to the replica that has gone are closed", func() bool { return len(d.standbys[0].backends(t)) == 0 })

	// Discovery fails, and then lists nothing.
	d.directory.set(errors.New("no answer"))
	d.directory.await(t)
	d.directory.set(nil)
	d.directory.await(t)
	d.awaitUse(t, two)
	foreign := d.foreign(t)
	d.directory.set(nil, primary, one.address(), two.address(), foreign.address(), "a,b:1")
	d.awaitUse(t, one)
	if warned, recovered := d.log.count("replicas cannot be discovered"), d.log.count("replicas are discovered again"); warned != 1 || recovered != 1 {
		t.Errorf("the log says %d times that discovery fails, and %d times that it does not, want once each", warned, recovered)
	}
	eventually(t, startLimit, "the server of another cluster is refused", func() bool {
		s := d.server(foreign.address())
		return s != nil && !s.Up && strings.Contains(s.Problem, "another cluster")
	})
	if n := d.log.count("a server that was discovered cannot be used"); n != 1 {
		t.Errorf("the log says %d times that an address is malformed, want once", n)
	}
	stop()
	if n := served(foreign); n > 0 {
		t.Errorf("a server of another cluster has answered %d reads", n)
	}
	t.Log(&d.calls)
	d.calls.check(t)
}

// foreign starts a server of another cluster, which has the same rows and the same password.
func (d *discovering) foreign(t *testing.T) *proxy {
	t.Helper()
	n := d.primary.lab.emptyNode(t, "foreign", quick)
	if err := n.lab.makeData(t.Context(), n.dir); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	return proxyTo(t, n.address())
}

// TestDiscovery_Token checks that a process that has found no replica yet returns tokens. A
// process that has found some needs them.
func TestDiscovery_Token(t *testing.T) {
	checkLeaks(t)
	n := newCluster(t, clusterConfig{settings: quick}).primary
	_, q := connect(t, postgres.Config{URL: n.url(), ReplicaDiscovery: func(context.Context) ([]string, error) {
		return nil, errors.New("no answer")
	}})
	for name, run := range map[string]func(context.Context, func(*db.Queries) error) error{
		"statement":   func(_ context.Context, f func(*db.Queries) error) error { return f(q) },
		"transaction": q.InTx,
	} {
		ctx, session := postgres.WithSession(t.Context())
		err := run(ctx, func(q *db.Queries) error { _, err := q.CreateUser(ctx, newUser()); return err })
		if err != nil || session.Token() == "" {
			t.Errorf("%s: the token is %q, error %v", name, session.Token(), err)
		}
	}
}
