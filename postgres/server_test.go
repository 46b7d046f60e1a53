package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"quern/localpg"
	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/pgprom"
)

// ownServer starts a server for one test only.
func ownServer(t *testing.T, settings map[string]string) *localpg.Server {
	t.Helper()
	dir, err := pgtest.NewDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return startServer(t, filepath.Join(dir, "postgres"), settings)
}

func startServer(t *testing.T, dir string, settings map[string]string) *localpg.Server {
	t.Helper()
	all := map[string]string{"fsync": "off", "shared_buffers": "16MB"}
	for name, value := range settings {
		all[name] = value
	}
	binaries, err := localpg.Find(t.Context())
	if err != nil {
		t.Skip(err)
	}
	server, err := localpg.Start(t.Context(), localpg.Config{Dir: dir, Binaries: binaries, Settings: all})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = syscall.Kill(server.PID(), syscall.SIGCONT) // the test may have stopped it
		_ = server.Stop(ctx)
	})
	return server
}

// admin runs SQL on a separate connection.
func admin(t *testing.T, address string, statements ...string) {
	t.Helper()
	// Not the test's context, which ends before the cleanup.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// changed returns an address with a part changed.
func changed(t *testing.T, address string, f func(u *url.URL)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	f(u)
	return u.String()
}

// as returns an address with another role and other parameters.
func as(t *testing.T, address, role, password string, parameters ...string) string {
	return changed(t, address, func(u *url.URL) {
		if role != "" {
			u.User = url.UserPassword(role, password)
		}
		q := u.Query()
		for i := 0; i+1 < len(parameters); i += 2 {
			q.Set(parameters[i], parameters[i+1])
		}
		u.RawQuery = q.Encode()
	})
}

// roleName returns the name of a role that no other test on the shared server has.
func roleName() string { return "role_" + strings.ToLower(rand.Text()[:10]) }

// open connects, and closes at the end of the test.
func open(t *testing.T, cfg postgres.Config) *postgres.Router {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 4
	}
	r, err := postgres.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// counts are the metrics of a Router's connections.
type counts struct{ *prometheus.Registry }

func newCounts() counts { return counts{prometheus.NewRegistry()} }

// observers makes a Router write its metrics to r.
func observers(r prometheus.Registerer) []postgres.Observer {
	return []postgres.Observer{pgprom.New(r, pgprom.Options{})}
}

// gather returns every series of the registry by name and labels. The value of a histogram
// is its number of observations.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			series[fmt.Sprintf("%s{%s}", f.GetName(), strings.Join(labels, ","))] = m.GetCounter().GetValue() +
				m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return series
}

// of returns how many connections were destroyed for a reason, or how many attempts to
// connect had a result.
func (c counts) of(label string) int {
	families, err := c.Gather()
	if err != nil {
		panic(err)
	}
	n := 0
	for _, f := range families {
		switch f.GetName() {
		case "quern_connections_destroyed_total", "quern_connects_total":
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() == label {
					n += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return n
}

// hold acquires n connections of a pool at the same time, so that the pool opens that many.
func hold(t *testing.T, r *postgres.Router, n int) (pids []int) {
	t.Helper()
	for range n {
		conn, err := r.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		pids = append(pids, int(conn.Conn().PgConn().PID()))
	}
	return pids
}

// patience bounds the waits of a test. A wait that succeeds takes milliseconds, or seconds
// on a busy machine.
const patience = time.Minute

// eventually waits for a condition that changes in the background.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for this: %s", what)
		}
	}
}

// wire is a network between a client and a server that can become silent.
type wire struct {
	lateness time.Duration // of requests to cancel
	trips    atomic.Int64  // writes of clients, which are round trips
	dropped  atomic.Int64  // late requests to cancel that the client had already closed
	accepted atomic.Int64  // connections
	listener net.Listener
	target   string
	mu       sync.Mutex
	silent   bool
	conns    map[net.Conn]bool
	done     sync.WaitGroup
}

func newWire(t *testing.T, address string) (*wire, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, conns: map[net.Conn]bool{}}
	through := changed(t, address, func(u *url.URL) { w.target, u.Host = u.Host, l.Addr().String() })
	w.done.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		for c := range w.conns {
			c.Close()
		}
		w.mu.Unlock()
		w.done.Wait()
	})
	return w, through
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.accepted.Add(1)
		server, err := net.Dial("tcp", w.target)
		if err != nil {
			client.Close()
			continue
		}
		w.mu.Lock()
		w.conns[client], w.conns[server] = true, true
		w.mu.Unlock()
		w.done.Go(func() { w.copy(client, server, &w.trips) })
		w.done.Go(func() { w.copy(server, client, nil) })
	}
}

func (w *wire) copy(from, to net.Conn, count *atomic.Int64) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if count != nil && n > 0 {
			count.Add(1)
		}
		if n == 16 && binary.BigEndian.Uint32(buf[4:]) == 80877102 { // CancelRequest
			time.Sleep(w.lateness)
			_ = from.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := from.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				w.dropped.Add(1)
			}
			_ = from.SetReadDeadline(time.Time{})
		}
		if w.isSilent() {
			// Everything is dropped, including the end of the connection, as if a cable were
			// cut.
			if err != nil {
				return
			}
			continue
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			if errors.Is(err, io.EOF) {
				_ = to.(*net.TCPConn).CloseWrite()
			} else {
				to.Close()
			}
			return
		}
	}
}

func (w *wire) isSilent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silent
}

func (w *wire) silence(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = on
}
